// CUDA for a host compiler: a kernel is a function that runs once for every thread of its grid. Reading order:
//   builtins.h     qualifiers, vector types, threadIdx
//   types.h        half, bfloat16
//   intrinsics.h   __popc, rsqrtf, min
//   atomics.h      atomicAdd and its like
//   scheduler.h    how blocks and threads run; __syncthreads
//   warp.h         shuffles, ballots, reductions
//   shared.h       SHARED, DYNAMIC_SHARED; checked.h finds races and bad indices
//   fiber.h        stacks and the switch between them
//   thread_pool.h  OS threads; parallel_for
// What a kernel cannot do here: wait in a loop for another thread of its block without a barrier, launch a kernel.
#pragma once
#include <cstdio>
#include <cstring>

#include "atomics.h"
#include "builtins.h"
#include "intrinsics.h"
#include "scheduler.h"
#include "shared.h"
#include "thread_pool.h"
#include "types.h"
#include "warp.h"
