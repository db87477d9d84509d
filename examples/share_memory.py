"""Arrays of other libraries without a copy: NumPy here; PyTorch's and CuPy's go the same way."""

import numpy as np

import pycnn

pixels = np.random.default_rng(0).standard_normal((8, 32, 32, 3), np.float32)  # channels last, as pycnn keeps images
x = pycnn.from_dlpack(pixels.transpose(0, 3, 1, 2))  # (8, 3, 32, 32), the same memory
y = np.from_dlpack(pycnn.ops.relu(x))  # torch.from_dlpack takes it, too

pixels[0, 0, 0, 0] = 7.0
print(x.numpy()[0, 0, 0, 0], y.shape, y.min())  # 7.0 (8, 3, 32, 32) 0.0
