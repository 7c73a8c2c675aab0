"""What an ONNX file says of itself: its inputs, its outputs and the files beside it that hold its weights.

A reader of the few fields of onnx.proto that are needed, so that making a package needs no library.
"""

NOT_ONNX = {
    b"PK\3\4": "a torch checkpoint: export it with torch.onnx.export",
    b"\x80\x02": "a torch checkpoint: export it with torch.onnx.export",
    b"version https://git-lfs": "a pointer of Git LFS, not the network: run `git lfs pull`",
    b"<": "a web page, not the network: download it again",
}
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class OnnxError(ValueError):
    """The bytes are no ONNX file."""


def fields(data):
    """(field number, value) of one message: integers for varints, memoryviews for lengths, None for fixed numbers."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = varint(data, at)
        elif wire == BYTES:
            length, at = varint(data, at)
            if length > len(data) - at:
                raise OnnxError("it ends early")
            value, at = data[at:at + length], at + length
        elif wire in (FIXED64, FIXED32):
            value, at = None, at + (8 if wire == FIXED64 else 4)
        else:
            raise OnnxError("it is not an ONNX file")
        yield number, value


def varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise OnnxError("it is not an ONNX file, or ends early")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def text(value):
    return bytes(value).decode("utf-8", "replace")


def every(message, *path):
    """The values at a path of field numbers, each step into every message that is there."""
    for number, value in fields(message):
        if number == path[0]:
            if len(path) == 1:
                yield value
            elif isinstance(value, memoryview):
                yield from every(value, *path[1:])


def tensor_of(value_info):
    """Name and sides of a ValueInfoProto; a side that is not fixed is None."""
    name = "".join(text(name) for name in every(value_info, 1))
    sides = []
    for dim in every(value_info, 2, 1, 2, 1):  # type, tensor_type, shape, dim
        fixed = [value for number, value in fields(dim) if number == 1]
        sides.append(fixed[-1] if fixed and fixed[-1] > 0 else None)
    return name, sides


class OnnxFile:
    """Inputs and outputs (name -> sides, None where not fixed) and the names of files beside it."""

    def __init__(self, file):
        self.file = file
        data = memoryview(file.read_bytes())
        for beginning, is_really in NOT_ONNX.items():
            if data[:len(beginning)] == beginning:
                raise OnnxError(f"it is {is_really}")
        if not data:
            raise OnnxError("it is empty: copy or export it again")
        graph = list(every(data, 7))
        if not graph:
            raise OnnxError("it has no graph: it is not an ONNX file")
        graph = graph[-1]
        weights = {text(name) for name in every(graph, 5, 8)}
        inputs = dict(tensor_of(value) for value in every(graph, 11))
        self.inputs = {name: sides for name, sides in inputs.items() if name not in weights}
        self.outputs = dict(tensor_of(value) for value in every(graph, 12))
        self.beside = sorted(self._beside(graph))

    @staticmethod
    def _beside(graph):
        # Tensors are initializers (5), and constants: an attribute's t (node 1, attribute 5, t 5).
        tensors = list(every(graph, 5)) + list(every(graph, 1, 5, 5))
        files = set()
        for tensor in tensors:
            for entry in every(tensor, 13):
                pair = {number: text(value) for number, value in fields(entry)}
                if pair.get(1) == "location":
                    location = pair.get(2, "")
                    files.add(location[2:] if location.startswith("./") else location)
        return files
