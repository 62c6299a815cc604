// main() of every test program. With MPI it starts the library, checks the number of ranks against what ctest asked for
// (a multi-rank test that runs at another size must fail, not pass by accident), and gathers the verdict of all ranks.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#ifdef SNELL_TEST_MPI
#include <mpi.h>
#endif

// HDF5 1.10 loses memory of its own when it opens a damaged file, which the mutation tests do thousands of times.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libhdf5";
}

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
#ifdef SNELL_TEST_MPI
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  int rank = 0;
  int size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  const char* wanted = std::getenv("SNELL_TEST_WORLD_SIZE");
  if (wanted == nullptr || std::atoi(wanted) != size) {
    // One rank, or the lines of several come out mixed.
    if (rank == 0) {
      std::cerr << "this test was started with " << size << " ranks, SNELL_TEST_WORLD_SIZE asks for "
                << (wanted == nullptr ? "(unset)" : wanted) << "\n";
    }
    MPI_Finalize();
    return 1;
  }
  if (rank != 0) {
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    struct OnlyFailures : ::testing::EmptyTestEventListener {
      void OnTestPartResult(const ::testing::TestPartResult& result) override {
        if (result.failed()) {
          std::cerr << result.file_name() << ":" << result.line_number() << ": " << result.message() << "\n";
        }
      }
    };
    listeners.Append(new OnlyFailures);
  }
  int failed = RUN_ALL_TESTS();
  int any = 0;
  MPI_Allreduce(&failed, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  return any;
#else
  return RUN_ALL_TESTS();
#endif
}
