// Marks functions that run on the host and, when nvcc compiles them, on the device too.
#pragma once

#ifdef __CUDACC__
#define SNELL_HOST_DEVICE __host__ __device__
#else
#define SNELL_HOST_DEVICE
#endif

// For small functions that sources compiled for different instruction sets share: never a function of its own, which
// the linker would take from whichever source it likes.
#define SNELL_HOST_DEVICE_INLINE SNELL_HOST_DEVICE inline __attribute__((always_inline))
