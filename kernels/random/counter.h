// Counters that live on the device, so that a captured step counts when it is replayed.
#pragma once
#include "../common/launch.h"
#include "../common/plan.h"

namespace pycnn {

struct CounterShape {
  int64_t n, slot;
  static constexpr const char* names = "n slot";
};

// counters[slot] += 1.  counters: n, int64.
struct Increment {
  static constexpr const char* name = "increment";
  using Problem = CounterShape;
  static Signature signature(const CounterShape& p, DType t) { return {out("counters", t, {p.n})}; }
  static void check(const CounterShape& p) {
    if (p.slot < 0 || p.slot >= p.n) throw ShapeError("increment: slot " + std::to_string(p.slot) + " is out of range");
  }
  static Preference prefer(const CounterShape&, const Request&) { return {"plain"}; }
};

}  // namespace pycnn
