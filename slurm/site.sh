# shellcheck shell=bash disable=SC2034
# What differs from cluster to cluster. slurm/common.sh sources this file; edit it once, the batch scripts stay as they
# are. Every setting can also be given in the environment of sbatch. Partition, account and time are options of sbatch.

# Modules, if this cluster has them: compilers and MPI must be those that the program was built with.
# module load gcc openmpi hdf5

# How ranks are started inside the job: mpirun (launch/mpirun.sh), srun (srun --mpi=$SNELL_SRUN_MPI), or auto: srun on
# several nodes where it speaks SNELL_SRUN_MPI (srun --mpi=list), else mpirun.
SNELL_LAUNCHER="${SNELL_LAUNCHER:-auto}"
SNELL_SRUN_MPI="${SNELL_SRUN_MPI:-pmix}"

# Exit codes after which the job puts itself back into the queue (docs/exit-codes.md): 85 is "saved because asked to
# stop", 143 the same after a SIGTERM, which srun's ranks get at the start of a preemption's grace time (never after one
# that the script itself got: then Slurm is ending the job). A run that died for another reason is left for a person to
# look at, ...
SNELL_REQUEUE_CODES="${SNELL_REQUEUE_CODES:-85 143}"
# ... but for preemptible jobs, which take a hang (124), a killed rank (137) and a lost node (205 from mpirun) as part of
# their life.
SNELL_LOST_CODES="${SNELL_LOST_CODES:-124 137 205}"
# No more than so many returns to the queue, and no more than so many one after the other without a new checkpoint.
SNELL_MAX_REQUEUES="${SNELL_MAX_REQUEUES:-100}"
SNELL_MAX_IDLE_REQUEUES="${SNELL_MAX_IDLE_REQUEUES:-3}"

# Where run folders lie; on most clusters a shared, fast file system.
SNELL_RUNS_DIR="${SNELL_RUNS_DIR:-$SNELL_ROOT/runs}"
