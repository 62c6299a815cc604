# shellcheck shell=bash disable=SC2034
# What differs from cluster to cluster. slurm/train.sbatch sources this file; edit it once, the batch script stays as it is.
# Every setting can also be given in the environment of sbatch.

# Modules, if this cluster has them: compilers and MPI must be those that the program was built with.
# module load gcc openmpi hdf5

# How ranks are started inside the job: mpirun (launch/mpirun.sh) or srun (srun --mpi=$SNELL_SRUN_MPI).
SNELL_LAUNCHER="${SNELL_LAUNCHER:-mpirun}"
SNELL_SRUN_MPI="${SNELL_SRUN_MPI:-pmix}"

# Exit codes after which the job puts itself back into the queue (docs/exit-codes.md): 85 is "saved because asked to
# stop". A run that died for another reason is left for a person to look at.
SNELL_REQUEUE_CODES="${SNELL_REQUEUE_CODES:-85}"
# No more than so many returns to the queue.
SNELL_MAX_REQUEUES="${SNELL_MAX_REQUEUES:-100}"

# Where run folders lie; on most clusters a shared, fast file system.
SNELL_RUNS_DIR="${SNELL_RUNS_DIR:-$SNELL_ROOT/runs}"
