// Plan and run. An op is declared once (name, problem, signature); each version of it leaves one record. A plan is a
// pure function of numbers: which version, how much workspace, or why not. Running a plan only checks arrays and launches.
#pragma once
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "array.h"

namespace pycnn {

enum class Math : uint8_t { strict, tf32, tf32x3, half };  // how fp32 products may be computed

// What a plan may depend on besides the problem. Thread and SM counts are left out on purpose: sums must not depend on them.
struct Request {
  DType storage = DType::f32;
  Math math = Math::strict;
  bool cuda = false;                   // which backend
  int sm = 0;                          // compute capability, 90 = 9.0
  bool own = false;                    // only CUDA kernels: no version "host"
  std::string version;                 // a name, or "" for the best that supports the problem
  int64_t workspace_limit = 64 << 20;  // bytes
  int alignment = 16;                  // bytes every pointer and pitch is a multiple of
};

// One array of an op: what `run` requires of the argument at this place.
struct Argument {
  enum Role : uint8_t { in, out } role = in;
  const char* name = "";
  DType dtype = DType::f32;
  Extents extents;
  bool optional = false;  // may be None
  bool pitched = false;   // may be a slice of channels (Array::pitch)
  bool flat = false;      // any shape with extents[0] elements in all
};
using Signature = std::vector<Argument>;

// dweight, statistics and sums of 16-bit storage are fp32.
inline DType accumulator_of(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

inline Argument in(const char* name, DType t, Extents e) { return {Argument::in, name, t, std::move(e)}; }
inline Argument out(const char* name, DType t, Extents e) { return {Argument::out, name, t, std::move(e)}; }
inline Argument optional(Argument a) { return a.optional = true, a; }
inline Argument pitched(Argument a) { return a.pitched = true, a; }
inline Argument flat_in(const char* name, DType t, int64_t n) { return {Argument::in, name, t, {n}, false, false, true}; }
inline Argument flat_out(const char* name, DType t, int64_t n) { return {Argument::out, name, t, {n}, false, false, true}; }

struct Plan;

// The scratch memory of the op that runs on this thread, plan.workspace bytes, aligned to 64; set by the binding.
inline thread_local char* current_workspace = nullptr;

// A problem is a struct of 8-byte numbers (int64_t or double): what Python sends as a tuple.
inline constexpr int kMaxFields = 32;

struct Version {
  const char* op;
  const char* name;  // "naive"
  int order;         // place on the ladder, 0 = host
  const char* idea;  // one sentence
  const char* file;  // "conv2d/forward_1_naive.cuh"
  DType storage;
  // nullptr if the version can do it, having filled plan.workspace, config and alignment; otherwise the reason why not.
  const char* (*supports)(const void* problem, const Request&, Plan&);
  void (*run)(const Plan&, const Array*);
  bool host() const { return order == 0; }
};

struct Plan {
  const Version* version = nullptr;
  Signature signature;
  int64_t fields[kMaxFields] = {};
  int64_t workspace = 0;   // bytes of scratch `run` is given
  int alignment = 1;       // bytes the version relies on for pointers and pitches
  int64_t config[8] = {};  // tile, stages, split: the version's own

  template <class Problem>
  const Problem& problem() const {
    return *reinterpret_cast<const Problem*>(fields);
  }
  template <class T>
  T* workspace_as(int64_t byte_offset = 0) const {
    return reinterpret_cast<T*>(current_workspace + byte_offset);
  }
};

using Preference = std::vector<const char*>;  // names of versions, best first

struct OpRecord {
  const char* name;
  const char* fields;  // names of the problem's numbers, a leading '.' marks a double: "N C .eps"
  int field_count;
  Signature (*signature)(const void* problem, DType storage);
  void (*check)(const void* problem);
  Preference (*prefer)(const void* problem, const Request&);
};

// ---- registration ----------------------------------------------------------------------------------------------

inline std::vector<Version>& versions() {
  static std::vector<Version> all;
  return all;
}

template <class Op>
const OpRecord& op_record() {
  using Problem = typename Op::Problem;
  static_assert(std::is_trivially_copyable_v<Problem> && sizeof(Problem) % 8 == 0 && sizeof(Problem) <= 8 * kMaxFields,
                "a problem is a struct of at most 32 int64_t and double fields");
  static const OpRecord record{Op::name, Problem::names, int(sizeof(Problem) / 8), [](const void* p, DType t) {
    return Op::signature(*static_cast<const Problem*>(p), t);
  }, [](const void* p) { Op::check(*static_cast<const Problem*>(p)); }, [](const void* p, const Request& r) -> Preference {
    return Op::prefer(*static_cast<const Problem*>(p), r);
  }};
  return record;
}

namespace detail {
template <auto launcher> struct Call;
template <class... Arrays, void (*launcher)(const Plan&, Arrays...)>
struct Call<launcher> {
  template <size_t... i>
  static void each(const Plan& plan, const Array* a, std::index_sequence<i...>) {
    launcher(plan, a[i]...);
  }
  static void run(const Plan& plan, const Array* a) { each(plan, a, std::index_sequence_for<Arrays...>{}); }
};
}  // namespace detail

template <class Op, auto supports, auto launcher>
bool register_version(const char* name, int order, const char* idea, const char* file, DType storage) {
  versions().push_back(
      {Op::name, name, order, idea, file, storage, [](const void* p, const Request& r, Plan& plan) -> const char* {
    return supports(*static_cast<const typename Op::Problem*>(p), r, plan);
  }, detail::Call<launcher>::run});
  return true;
}

// At the end of a version file: its one record. PYCNN_FILE and STORAGE come from the build. A version file that another
// includes (im2col multiplies with a GEMM) is one level deeper and leaves its record to its own object.
#define REGISTER_VERSION(...) PYCNN_RECORD_AT(__INCLUDE_LEVEL__, __VA_ARGS__)
#define PYCNN_RECORD_AT(level, ...) PYCNN_RECORD_AT_(level, __VA_ARGS__)
#define PYCNN_RECORD_AT_(level, ...) PYCNN_RECORD_##level(__VA_ARGS__)
#define PYCNN_RECORD_0 PYCNN_RECORD_1
#define PYCNN_RECORD_1(Op, version, order, idea, supports, launcher)        \
  [[maybe_unused]] static const bool PYCNN_JOIN(registered_, __COUNTER__) = \
      ::pycnn::register_version<Op, supports, launcher>(#version, order, idea, PYCNN_FILE, ::pycnn::dtype_of<STORAGE>)
#define PYCNN_RECORD_2(...) static_assert(true)
#define PYCNN_RECORD_3 PYCNN_RECORD_2
#define PYCNN_RECORD_4 PYCNN_RECORD_2
#define PYCNN_JOIN(a, b) PYCNN_JOIN_(a, b)
#define PYCNN_JOIN_(a, b) a##b

// For a version that can do every problem its op accepts.
template <class Problem>
const char* supports_all(const Problem&, const Request&, Plan&) {
  return nullptr;
}

// ---- plan ------------------------------------------------------------------------------------------------------

inline std::string quoted_versions(const char* op) {
  std::string names;
  for (const Version& v : versions())
    if (!std::strcmp(v.op, op) && names.find(std::string("'") + v.name + "'") == std::string::npos)
      names += (names.empty() ? "'" : ", '") + std::string(v.name) + "'";
  return names;
}

// The plan for a problem: the version asked for, or the first in the op's order of preference that supports it.
inline Plan make_plan(const OpRecord& op, const int64_t* fields, const Request& request) {
  Plan plan;
  std::memcpy(plan.fields, fields, 8 * op.field_count);
  op.check(plan.fields);
  plan.signature = op.signature(plan.fields, request.storage);

  std::string refusals;
  auto attempt = [&](const char* name) {
    for (const Version& v : versions()) {
      if (std::strcmp(v.op, op.name) || std::strcmp(v.name, name) || v.storage != request.storage) continue;
      Plan trial = plan;
      const char* reason = v.host() && (request.own || request.cuda) ? "it is no CUDA kernel" : nullptr;
      if (!reason) reason = v.supports(plan.fields, request, trial);
      if (!reason && trial.alignment > request.alignment) reason = "it needs aligned arrays";
      if (!reason && trial.workspace > request.workspace_limit) reason = "its workspace exceeds the limit";
      if (reason) return refusals += std::string("; ") + name + ": " + reason, false;
      trial.version = &v;
      plan = std::move(trial);
      return true;
    }
    return refusals += std::string("; ") + name + ": not built for " + name_of(request.storage), false;
  };

  if (!request.version.empty()) {
    if (quoted_versions(op.name).find("'" + request.version + "'") == std::string::npos)
      throw NotSupported(std::string(op.name) + " has no version '" + request.version + "'; it has " + quoted_versions(op.name));
    if (attempt(request.version.c_str())) return plan;
  } else {
    for (const char* name : op.prefer(plan.fields, request))
      if (attempt(name)) return plan;
  }
  throw NotSupported(std::string(op.name) + ": no version for this problem" + refusals);
}

// ---- run -------------------------------------------------------------------------------------------------------

[[noreturn]] inline void refuse(const Plan& plan, const Argument& want, const std::string& what) {
  throw ShapeError(std::string(plan.version->op) + ": argument '" + want.name + "' " + what);
}

// Checks every array against the plan's signature. Returns false when one is less aligned than the plan relies on.
inline bool check_arrays(const Plan& plan, const Array* arrays, int count) {
  if (count != int(plan.signature.size()))
    throw ShapeError(std::string(plan.version->op) + ": " + std::to_string(count) + " arrays given, takes " +
                     std::to_string(plan.signature.size()));
  int device = -2;
  bool aligned = true;
  for (int i = 0; i < count; i++) {
    const Argument& want = plan.signature[i];
    const Array& a = arrays[i];
    if (!a) {
      if (!want.optional) refuse(plan, want, "is missing");
      continue;
    }
    if (a.dtype != want.dtype)
      throw DTypeError(std::string(plan.version->op) + ": argument '" + want.name + "' is " + name_of(a.dtype) + ", must be " +
                       name_of(want.dtype));
    bool same = want.flat ? a.size() == want.extents[0] : a.rank == int(want.extents.size());
    for (int d = 0; same && !want.flat && d < a.rank; d++) same = a.extent[d] == want.extents[d];
    if (!same)
      refuse(plan, want,
             "has shape " + to_string(a.extent, a.rank) + ", must be " +
                 (want.flat ? "of " + std::to_string(want.extents[0]) + " elements" : to_string(want.extents)));
    if (!a.dense() && !want.pitched) refuse(plan, want, "must be contiguous");
    if (want.role == Argument::out && !a.writable) refuse(plan, want, "is read-only but is written to");
    if (device != -2 && a.device != device)
      throw DeviceError(std::string(plan.version->op) + ": argument '" + want.name + "' is on another device than the others");
    device = a.device;
    uintptr_t bits = reinterpret_cast<uintptr_t>(a.data);
    if (!a.dense()) bits |= uintptr_t(a.pitch * bytes_of(a.dtype));
    if (bits % plan.alignment) aligned = false;
  }
  return aligned;
}

}  // namespace pycnn
