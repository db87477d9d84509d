// The Python module of one backend: pycnn._cpu or pycnn._cuda. It knows no op by name: whatever api.h lists is bound.
#include "../kernels/api.h"
#include "array_caster.h"
#if !PYCNN_CUDA
#include "pool.h"
#endif

namespace pycnn {

Request request_from(const std::string& storage, const std::string& version, bool own, int sm, int64_t workspace_limit,
                     int alignment) {
  Request r;
  for (int i = 0; i < 7; i++)
    if (storage == kDTypeName[i]) r.storage = DType(i);
  r.version = version;
  r.own = own;
  r.cuda = PYCNN_CUDA;
  r.sm = sm;
  r.workspace_limit = workspace_limit;
  r.alignment = alignment;
  return r;
}

// `problem` holds the op's numbers in the order of its `fields`.
Plan plan(const std::string& op, const py::sequence& problem, const std::string& storage, const std::string& version, bool own,
          int sm, int64_t workspace_limit, int alignment) {
  for (const OpRecord* record : all_ops()) {
    if (op != record->name) continue;
    if (int(problem.size()) != record->field_count)
      throw ShapeError(op + " takes the numbers (" + record->fields + "), got " + std::to_string(problem.size()));
    int64_t fields[kMaxFields] = {};
    const char* name = record->fields;
    for (int i = 0; i < record->field_count; i++) {
      if (*name == '.') {
        const double number = problem[i].cast<double>();
        std::memcpy(&fields[i], &number, 8);
      } else {
        fields[i] = problem[i].cast<int64_t>();
      }
      while (*name && *name != ' ') name++;
      while (*name == ' ') name++;
    }
    return make_plan(*record, fields, request_from(storage, version, own, sm, workspace_limit, alignment));
  }
  throw NotSupported("there is no op '" + op + "'");
}

// run(plan, stream, workspace, *arrays) -> False if an array is less aligned than the plan relies on (nothing was run).
bool run(const Plan& plan, uintptr_t stream, const py::object& workspace, const py::args& args) {
  Array arrays[16];
  const int count = int(args.size());
  if (count > 16) throw ShapeError("an op takes at most 16 arrays");
  for (int i = 0; i < count; i++)
    arrays[i] = to_array(PyTuple_GET_ITEM(args.ptr(), i), i < int(plan.signature.size()) ? plan.signature[i].name : "?");
  if (!check_arrays(plan, arrays, count)) return false;

  Array scratch = to_array(workspace, "workspace");
  if (plan.workspace && (!scratch || scratch.size() * bytes_of(scratch.dtype) < plan.workspace))
    throw ShapeError(std::string(plan.version->op) + ": the workspace must have " + std::to_string(plan.workspace) + " bytes");
  current_workspace = static_cast<char*>(scratch.data);
#if PYCNN_CUDA
  current_stream = reinterpret_cast<cudaStream_t>(stream);
#endif
  (void)stream;
  py::gil_scoped_release unlocked;
  plan.version->run(plan, arrays);
  return true;
}

py::list list_versions() {
  py::list rows;
  for (const Version& v : versions())
    rows.append(py::dict(py::arg("op") = v.op, py::arg("version") = v.name, py::arg("order") = v.order, py::arg("idea") = v.idea,
                         py::arg("file") = v.file, py::arg("storage") = name_of(v.storage), py::arg("host") = v.host()));
  return rows;
}

// Turns each C++ error into the exception of the same name in pycnn.errors.
void translate(std::exception_ptr error) {
  auto raise = [](const char* name, const char* what) {
    PyErr_SetString(py::module_::import("pycnn.errors").attr(name).ptr(), what);
  };
  try {
    if (error) std::rethrow_exception(error);
  } catch (const ShapeError& e) {
    raise("ShapeError", e.what());
  } catch (const DTypeError& e) {
    raise("DTypeError", e.what());
  } catch (const DeviceError& e) {
    raise("DeviceError", e.what());
  } catch (const NotSupported& e) {
    raise("NotSupported", e.what());
  } catch (const LaunchError& e) {
    raise("LaunchError", e.what());
  }
}

}  // namespace pycnn

PYBIND11_MODULE(PYCNN_MODULE, m) {
  using namespace pycnn;
  py::register_local_exception_translator(&translate);

  py::class_<Plan>(m, "Plan", py::module_local())  // pycnn._cpu and pycnn._cuda each have their own
      .def_property_readonly("op", [](const Plan& p) { return p.version->op; })
      .def_property_readonly("version", [](const Plan& p) { return p.version->name; })
      .def_readonly("workspace", &Plan::workspace)
      .def_readonly("alignment", &Plan::alignment)
      .def_property_readonly("config", [](const Plan& p) {
    py::list numbers;
    for (int64_t number : p.config) numbers.append(number);
    return py::tuple(numbers);
  });

  m.def("plan", &plan, py::arg("op"), py::arg("problem"), py::arg("storage"), py::arg("version"), py::arg("own"), py::arg("sm"),
        py::arg("workspace_limit"), py::arg("alignment"));
  m.def("run", &run);
  m.def("list_versions", &list_versions);
  m.def("list_ops", [] {
    py::dict fields;
    for (const OpRecord* record : all_ops()) fields[record->name] = record->fields;
    return fields;
  });
  m.attr("build") = PYCNN_BUILD;  // compiler and flags, for `pycnn doctor`
#if PYCNN_CUDA
  m.def("device_count", [] {
    int count = 0;
    check_cuda(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
    return count;
  });
#else
  m.def("empty", &empty, py::arg("shape"), py::arg("dtype"));
  m.def("pool_bytes", [] { return Pool::instance().kept(); });
  m.def("set_pool_limit", [](size_t bytes) { Pool::instance().set_limit(bytes); }, py::arg("bytes"));
  m.def("set_num_threads", &cpu::set_num_threads);
  m.def("get_num_threads", &cpu::get_num_threads);
  m.def("set_thread_order", [](const std::string& order, uint64_t seed) {
    cpu::set_thread_order(order == "reverse"  ? cpu::Order::reverse
                          : order == "random" ? cpu::Order::random
                                              : cpu::Order::forward,
                          seed);
  }, py::arg("order"), py::arg("seed") = 0);
#endif
}
