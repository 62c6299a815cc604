// What nearly every source that touches LibTorch needs; compiled once for all of them. No more than that, since GCC
// instantiates what a precompiled header's inline functions ask for anew in every source: custom_function.h and
// torch/nn would double the time of each.
#pragma once
#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>
