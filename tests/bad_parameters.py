"""Words of ``spinscape run random_walks ...`` that must be refused, with what each message must hold.

Each row is (words, parts of the message).
"""

from __future__ import annotations

_NAMES = ("dataset", "hidden", "networks", "sigmas", "downhill_sigmas", "seed", "device")

BAD: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    # names
    (("hiden=32",), ("unknown parameter 'hiden'. Did you mean 'hidden'?", *_NAMES)),
    (("HIDDEN=32",), ("unknown parameter 'HIDDEN'. Did you mean 'hidden'?", *_NAMES)),
    (("zzz=1",), ("unknown parameter 'zzz'. Allowed:", *_NAMES)),
    (("a" * 10_000 + "=1",), ("unknown parameter 'aaaa", "(10002 characters)", *_NAMES)),
    (("hid\nden=32",), ("unknown parameter 'hid\\nden'. Did you mean 'hidden'?",)),
    (("hidden; rm -rf x=32",), ("unknown parameter 'hidden; rm -rf x'.", *_NAMES)),
    (("hidden",), ("'hidden' is not of the form name=value", *_NAMES)),
    (("=32",), ("unknown parameter ''. Allowed:", *_NAMES)),
    (("",), ("'' is not of the form name=value", *_NAMES)),
    (("hidden=32", "steps=8", "hidden=64"), ("parameter 'hidden' is given twice",)),
    # whole numbers
    (("hidden=many",), ("parameter 'hidden': 'many' is not of type int.",
                        "Allowed: int in 1..8192, such as 64.")),
    (("hidden=",), ("parameter 'hidden': '' is not of type int",)),
    (("hidden=5.5",), ("'5.5' is not of type int. Allowed: int in 1..8192",)),
    (("hidden=1e-3",), ("'1e-3' is not of type int",)),
    (("hidden=0x10",), ("'0x10' is not of type int",)),
    (("hidden=1,000",), ("'1,000' is not of type int",)),
    (("hidden=1__0",), ("'1__0' is not of type int",)),
    (("hidden=nan",), ("'nan' is not of type int",)),
    (("hidden=inf",), ("'inf' is not of type int",)),
    (("hidden=true",), ("'true' is not of type int",)),
    (("hidden=None",), ("'None' is not of type int",)),
    (("hidden=[64]",), ("'[64]' is not of type int",)),
    (("hidden==64",), ("'=64' is not of type int",)),
    (("hidden=\u0663",), ("not of type int",)),
    (("hidden=$(touch x)",), ("'$(touch x)' is not of type int",)),
    (("hidden=0",), ("parameter 'hidden': 0 is out of range. Allowed: 1..8192.",)),
    (("hidden=8193",), ("8193 is out of range. Allowed: 1..8192.",)),
    (("hidden=-1",), ("-1 is out of range",)),
    (("hidden=1e300",), ("(301 characters) is out of range. Allowed: 1..8192.",)),
    (("hidden=1e999",), ("'1e999' is not of type int",)),
    (("hidden=" + "9" * 10_000,), ("not of type int. Allowed: int in 1..8192", "(10002 characters)")),
    (("hidden=3\x1b[31m",), ("'3\\x1b[31m' is not of type int",)),
    (("networks=2",), ("2 is out of range. Allowed: 3..256.",)),
    (("seed=-1",), ("-1 is out of range. Allowed: at least 0.",)),
    # real numbers
    (("learning_rate=0",), ("parameter 'learning_rate': 0.0 is out of range. Allowed: 0<..1.",)),
    (("learning_rate=1.5",), ("1.5 is out of range. Allowed: 0<..1.",)),
    (("learning_rate=fast",), ("'fast' is not of type float. Allowed: float in 0<..1, such as 0.001.",)),
    (("learning_rate=1:30",), ("'1:30' is not of type float",)),
    (("learning_rate=0,1",), ("'0,1' is not of type float",)),
    (("learning_rate=-inf",), ("'-inf' is not of type float",)),
    # choices
    (("dataset=fashion-mnits",), ("unknown value 'fashion-mnits'. Did you mean 'fashion-mnist'?",
                                  "Allowed: digits, mnist, fashion-mnist.")),
    (("dataset=MNIST",), ("unknown value 'MNIST'. Did you mean 'mnist'?",)),
    (("dataset=",), ("unknown value ''. Allowed: digits, mnist, fashion-mnist.",)),
    (("dataset=../../etc",), ("unknown value '../../etc'. Allowed: digits",)),
    (("dataset=cifar10",), ("unknown value 'cifar10'.", "Allowed: digits, mnist, fashion-mnist.")),
    (("device=gpu",), ("unknown value 'gpu'.", "Allowed: auto, cpu, cuda, mps.")),
    # lists
    (("sigmas=[]",), ("the list is empty. Give at least one value, such as [0.005",)),
    (("sigmas=",), ("the list is empty",)),
    (("sigmas=[0.1",), ("parameter 'sigmas': '[0.1' lacks a bracket.",)),
    (("sigmas=[[0.1],[0.2]]",), ("'[[0.1],[0.2]]' is not of type list[float]",)),
    (("sigmas=0.1,,0.2",), ("'0.1,,0.2' is not of type list[float]. Allowed: list[float] in 0<..1",)),
    (("sigmas=(0.1,0.2)",), ("'(0.1', entry 1 of '(0.1,0.2)', is not of type float",)),
    (("sigmas=[0.1,x]",), ("'x', entry 2 of '[0.1,x]', is not of type float",)),
    (("sigmas=[0.1,0]",), ("0.0 is out of range. Allowed: 0<..1.",)),
    (("sigmas=" + "[" * 5_000 + "]" * 5_000,), ("is not of type list[float]", "(10002 characters)")),
    (("sigmas=" + "0.1," * 5_000 + "x",), ("'x', entry 5001 of", "is not of type float")),
]  # fmt: skip
