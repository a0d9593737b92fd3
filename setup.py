"""Adds compiled kernels to a wheel, if the machine that builds it has a C++ compiler. `pyproject.toml` has the rest.

Without a compiler the wheel is for any machine, and each machine compiles the kernels when it first needs them.
"""

import platform
import runpy
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

KERNELS = Path("albert_infer/engine/cpu/kernels.cpp")
PREBUILT = Path("albert_infer/engine/cpu/prebuilt.py")


class BuildWithKernels(build_py):
    """Copies the package, and compiles its kernels next to the copy."""

    def run(self) -> None:
        """Copy and compile. An editable install has no copy."""
        super().run()
        target = Path(self.build_lib) / KERNELS
        if self.editable_mode or not target.exists():
            return
        for problem in runpy.run_path(str(PREBUILT))["compile_variants"](KERNELS, target, platform.machine()):
            self.warn(f"the wheel has no kernels: {problem}")


class WheelOfKernels(bdist_wheel):
    """Names the platform of a wheel that has compiled kernels. The wheel is for every Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        """The tag of the wheel. setuptools asks after the contents are built."""
        python, abi, anywhere = super().get_tag()
        compiled = any(Path(self.bdist_dir, KERNELS.parent).glob("compiled/*.so"))
        return python, abi, sysconfig.get_platform().replace("-", "_").replace(".", "_") if compiled else anywhere


setup(cmdclass={"build_py": BuildWithKernels, "bdist_wheel": WheelOfKernels})
