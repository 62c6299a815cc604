// One function a weight-file format, each over the file's bytes; open_tensors() chooses among them by content.
#pragma once

#include <memory>
#include <string>

#include "file_bytes.h"
#include "snell/io/tensor_source.h"
#include "zip_file.h"

namespace snell::io {

// Each throws WeightsError.
std::unique_ptr<TensorSource> open_safetensors(const FileBytes& file);
std::unique_ptr<TensorSource> open_npz(std::shared_ptr<const ZipFile> zip);
std::unique_ptr<TensorSource> open_torch_zip(std::shared_ptr<const ZipFile> zip);  // one that has a torch pickle
std::unique_ptr<TensorSource> open_torch_legacy(const FileBytes& file);
// An index of safetensors shards, which are looked for in the index's folder.
std::unique_ptr<TensorSource> open_safetensors_index(const FileBytes& file);

// Whether the entry is NAME/data.pkl, which only torch.save writes.
bool is_torch_pickle(const ZipEntry& entry);

// Recognises the format of one file (all of the above).
std::unique_ptr<TensorSource> open_tensors(const FileBytes& file);

// A byte of a BOOL tensor other than 0 and 1 is undefined behaviour in whatever reads it as a bool.
void check_bools(const HostTensor& tensor, const std::string& path, const std::string& name);

// "no tensor 'x' in 'path'", with the nearest name.
[[noreturn]] void raise_unknown_tensor(const TensorSource& source, const std::string& name);

}  // namespace snell::io
