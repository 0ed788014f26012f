"""Makes MKL run its AVX-512 kernels on AMD's processors too, where it avoids them. Import it before PyTorch.

MKL asks the function mkl_serv_intel_cpu_true whether the processor is Intel's. A library that is loaded before and
defines this function answers instead. On an AMD EPYC with AVX-512, PyTorch then multiplies matrices 2.0 to 2.5 times as
fast.
"""

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

source = "int mkl_serv_intel_cpu_true(void) { return 1; }"


def enable():
    """Loads the library if the processor is AMD's, and returns what the kernels of MKL are then."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    if "AuthenticAMD" not in flags or "avx512f" not in flags:
        return ""
    compiler = shutil.which("cc")
    if compiler is None:
        return " without AVX-512 (no C compiler, see fastest_mkl.py)"
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/intel.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=source, text=True, check=True)
        ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    return " with AVX-512 (fastest_mkl.py)"


kernels = enable()
