"""Feature files: .npy of floats, checked, and written again as the server reads them."""

import array
import ast
import math
import struct
import sys


class NpyError(ValueError):
    """The file cannot be used, in words."""


class NpyFile:
    """Shape and values (array of f or d) of a .npy file of f32 or f64 in C order."""

    def __init__(self, file):
        content = file.read_bytes()
        if content[:6] != b"\x93NUMPY" or len(content) < 12:
            raise NpyError("is not a .npy file")
        wide = content[6] >= 2
        length = struct.unpack("<I" if wide else "<H", content[8:12 if wide else 10])[0]
        start = (12 if wide else 10) + length
        try:
            header = ast.literal_eval(content[12 if wide else 10:start].decode("latin1"))
            kind, self.shape = header["descr"], tuple(header["shape"])
            is_fortran = header["fortran_order"]
        except (ValueError, SyntaxError, KeyError, TypeError):
            raise NpyError("is not a .npy file: its header cannot be read") from None
        if kind not in ("<f4", "<f8") or is_fortran:
            order = "Fortran" if is_fortran else "C"
            raise NpyError(f"holds {kind} in {order} order, f32 in C order is needed: "
                           "np.save(file, np.ascontiguousarray(features, np.float32))")
        self.values = array.array("f" if kind == "<f4" else "d")
        count = math.prod(self.shape)
        data = content[start:start + count * self.values.itemsize]
        if len(data) != count * self.values.itemsize:
            raise NpyError(f"ends early: {count} values are stated, {len(data) // self.values.itemsize} are there")
        self.values.frombytes(data)
        if sys.byteorder == "big":
            self.values.byteswap()

    def first_not_finite(self):
        """The row and the value of the first NaN or infinity, or None."""
        at = next((i for i, value in enumerate(self.values) if not math.isfinite(value)), None)
        return None if at is None else (at // max(1, math.prod(self.shape[1:])), self.values[at])

    def write(self, file, shape):
        """Writes the first values as f32 of another shape."""
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)!r}, }}"
        header += " " * (-(10 + len(header) + 1) % 64) + "\n"
        values = array.array("f", self.values[:math.prod(shape)])
        if sys.byteorder == "big":
            values.byteswap()
        file.write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode("latin1") + values.tobytes())
