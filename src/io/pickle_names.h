// Which classes and functions a pickle may name as the maker of an object. Nothing is run in any case: this says what a
// node becomes, and which names make a file suspicious enough to refuse it.
#pragma once

#include <string_view>

namespace snell::io {

enum class PickleCall {
  kDict,     // a dictionary: OrderedDict and its like
  kOpaque,   // plain data of other libraries (Namespace, numpy scalars, dates): kept as a node, never looked into,
             // and torch's own functions, which pickle_torch.cpp understands
  kRefused,  // anything else, such as os.system
};

// `name`: "module.name".
PickleCall pickle_call(std::string_view name);

}  // namespace snell::io
