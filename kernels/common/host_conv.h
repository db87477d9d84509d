// A convolution as a matrix product, its matrix gathered row by row from the image.
#pragma once
#include "host_gemm.h"

#include "conv_shape.h"

namespace pycnn::host {

// im2col(x): row = output pixel (n,p,q), column = (r,s,c); a tap outside the image is zero. Groups see a slice of C.
template <class T> struct Im2col {
  const T* x;      // of the group's first channel
  const T* x_end;  // end of the memory that may be read
  int64_t pitch;   // from pixel to pixel
  ConvShape sh;    // C is the channels gathered; K, groups and accumulate are not looked at

  // A 1x1 filter that visits every pixel of x sees x itself.
  const T* in_place() const {
    const bool every_pixel = sh.R * sh.S == 1 && sh.stride_h * sh.stride_w == 1 && sh.P == sh.H && sh.Q == sh.W;
    return every_pixel && sh.pad_h == 0 && sh.pad_w == 0 ? x : nullptr;
  }

  void fill(int64_t row, int64_t rows, int64_t from, int64_t n, T* out, int64_t stride) const {
    while (rows > 0 && n > 0) {  // one line of the image at a time
      const int64_t q = row % sh.Q, line = row / sh.Q, pixels = std::min(rows, sh.Q - q);
      fill_line(line / sh.P, line % sh.P, q, pixels, from, n, out, stride);
      row += pixels, rows -= pixels, out += pixels * stride;
    }
  }

  // Pixels q, q+1, ... of line p. A run is what lies together in x: the taps s, and of these the channels.
  void fill_line(int64_t image, int64_t p, int64_t q, int64_t pixels, int64_t from, int64_t n, T* out, int64_t stride) const {
    const bool joint = pitch == sh.C && sh.dilation_w == 1;
    const int64_t taps = joint ? sh.S : 1, runs = sh.S / taps, run = taps * sh.C;
    int64_t r = from / run / runs, s = from / run % runs;
    for (int64_t begin = from % run; n > 0; begin = 0) {
      const int64_t length = std::min(run - begin, n);
      const int64_t h = p * sh.stride_h - sh.pad_h + r * sh.dilation_h, w = q * sh.stride_w - sh.pad_w + s * sh.dilation_w;
      if (h < 0 || h >= sh.H) {
        for (int64_t i = 0; i < pixels; i++) std::fill_n(out + i * stride, length, T(0));
      } else {
        fill_run(x + (image * sh.H + h) * sh.W * pitch, w, pixels, taps, begin, length, out, stride);
      }
      out += length, n -= length;
      if (++s == runs) r++, s = 0;
    }
  }

  // Elements [begin, begin + length) of the run of `taps` pixels at column w of `line`, and of those every stride_w after.
  void fill_run(const T* line, int64_t w, int64_t pixels, int64_t taps, int64_t begin, int64_t length, T* out,
                int64_t stride) const {
    const int64_t last = sh.W - taps - w;  // runs [inside, outside) lie in the image
    const int64_t inside = w < 0 ? std::min(pixels, ceil_div(-w, sh.stride_w)) : 0;
    const int64_t outside = last >= (pixels - 1) * sh.stride_w ? pixels
                            : last < 0                         ? inside
                                                               : std::clamp(last / sh.stride_w + 1, inside, pixels);
    for (int64_t i = 0; i < inside; i++) fill_border(line, w + i * sh.stride_w, begin, length, out + i * stride);
    copy_rows(line + (w + inside * sh.stride_w) * pitch + begin, sh.stride_w * pitch, outside - inside, length,
              out + inside * stride, stride, x_end);
    for (int64_t i = outside; i < pixels; i++) fill_border(line, w + i * sh.stride_w, begin, length, out + i * stride);
  }

  // A run that is partly outside: of its elements [low, high) are in the image.
  void fill_border(const T* line, int64_t w, int64_t begin, int64_t length, T* out) const {
    const int64_t end = begin + length;
    const int64_t low = std::clamp(-w * sh.C, begin, end), high = std::clamp((sh.W - w) * sh.C, low, end);
    std::fill_n(out, low - begin, T(0));
    if (high > low) std::memcpy(out + low - begin, line + w * pitch + low, (high - low) * sizeof(T));
    std::fill_n(out + high - begin, end - high, T(0));
  }
};

}  // namespace pycnn::host
