// TEST(name) { CHECK(...); } in a program whose arguments are the names of the tests to run.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

struct Test {
  const char* name;
  void (*run)();
};
inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}
inline int failures = 0;

#define TEST(name)                                                                       \
  static void test_##name();                                                             \
  static const bool registered_##name = (tests().push_back({#name, test_##name}), true); \
  static void test_##name()

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      std::printf("%s:%d: CHECK(%s) failed\n", __FILE__, __LINE__, #condition); \
      if (++failures > 20) std::exit(1);                                        \
    }                                                                           \
  } while (false)

// The message of the exception that `f` must throw.
template <class Error, class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "(nothing was thrown)";
}

// Whether `text` has all of `parts`; says what it is if not.
template <class... Parts>
bool contains(const std::string& text, const Parts&... parts) {
  bool all = ((text.find(parts) != std::string::npos) && ...);
  if (!all) std::printf("got: %s\n", text.c_str());
  return all;
}

inline int run_tests(int count, char** names) {
  for (int i = 0; i < count; i++) {
    bool found = false;
    for (const Test& test : tests()) {
      if (std::strcmp(test.name, names[i])) continue;
      found = true;
      try {
        test.run();
      } catch (const std::exception& e) {
        std::printf("%s threw: %s\n", test.name, e.what());
        failures++;
      }
    }
    if (!found) std::printf("no test %s\n", names[i]), failures++;
  }
  return failures ? 1 : 0;
}
