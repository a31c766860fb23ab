"""Suffixes of quantised weights in the graph: the exporter writes them, and a training from a bundle reads them."""

from __future__ import annotations

QUANTIZED, SCALE, ZERO_POINT = "_quantized", "_scale", "_zero_point"
#: Of the vector that the graph multiplies the input of a product by (SmoothQuant); dequantising undoes it.
UNSMOOTH = "_unsmooth"
#: Of weights that the file keeps in fp16.
HALF = "_half"
