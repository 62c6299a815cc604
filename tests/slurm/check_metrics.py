"""Whether a run that was interrupted left one continuous record.

usage: check_metrics.py RUN RESUMES [finished]      exit 1 and a sentence where it did not

metrics.jsonl (of a run with run.log_every=1) must hold every step exactly once and in order, no line that is torn, RESUMES
resumes, each right after the step that it goes on from, and as its last event a finish where one is told, else none.
The config must not have changed. Prints how the run went on.
"""
import json
import pathlib
import sys


def main(run, resumes, finished):
    steps, went_on, last = [], [], {}
    for number, line in enumerate((run / "metrics.jsonl").read_text().splitlines(), 1):
        last = json.loads(line)
        kind, step = last["event"], last.get("step")
        if kind == "step":
            assert step == len(steps) + 1, f"line {number}: step {step} after step {len(steps)}"
            steps.append(step)
        elif kind == "resume":
            assert step == len(steps), f"line {number}: resumes from step {step}, but the record ends with {len(steps)}"
            went_on.append(step)
        elif kind != "sparsity":
            assert step == len(steps), f"line {number}: {kind} of step {step} after step {len(steps)}"
        assert kind != "finish" or finished, f"line {number}: finished, which it should not have"
    assert len(went_on) == resumes, f"{len(went_on)} resumes (from {went_on}), expected {resumes}"
    assert not finished or last["event"] == "finish", f"the last event is {last['event']}, not finish"
    rows = [int(line.split(",")[1]) for line in (run / "summary.csv").read_text().splitlines()[1:]]
    assert rows == sorted(set(rows)), f"summary.csv has the evaluations of steps {rows}"
    assert not (run / "config.yaml.previous").exists(), "the config has changed on the way"
    print(f"  {run.name}: {len(steps)} steps, each once; went on from {went_on or 'nothing'}")


if __name__ == "__main__":
    try:
        main(pathlib.Path(sys.argv[1]), int(sys.argv[2]), "finished" in sys.argv[3:])
    except (AssertionError, OSError, ValueError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
