"""The inference core: decode, tiles, networks, explanations, encode; knows neither TorchServe nor HTTP."""

import os

# MKL chooses a matrix kernel by size and alignment, and with it the order of sums. In its strict
# reproducible mode tiles of 2, 4, 16 and 64 windows give a row the same bits, which without it only those of 2
# and 4 did: 64 windows cost a recurrent network nearly half. MKL reads it at its first call, so it is set before
# any; the user's own setting stays. (Intel oneMKL Developer Guide, "Obtaining Numerically Reproducible Results".)
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
