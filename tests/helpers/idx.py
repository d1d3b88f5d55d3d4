"""Files in MNIST's IDX format, of the real size and of random content."""

import struct

import numpy as np

FILES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}


def write_mnist(root, name="MNIST", files=FILES):
    folder = root / name / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    block = random.integers(0, 256, (997, 28, 28), dtype=np.uint8)
    block[random.random(block.shape) < 0.8] = 0
    for file, shape in files.items():
        values = np.resize(block if len(shape) == 3 else block % 10, shape).astype(np.uint8)
        header = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape)
        (folder / file).write_bytes(header + values.tobytes())
    return folder
