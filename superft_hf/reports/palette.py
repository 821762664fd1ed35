"""The colours of a report, light and dark. A figure names a colour; the reader's browser fills it in.

They mean what they mean on the pages: grey is train, violet is eval, green is test; blue is right, orange is
wrong.
"""

_TOKEN = "§colour:"

_LIGHT = {
    "train": "#7A8494", "eval": "#7048E8", "test": "#2B8A3E", "right": "#1F6FEB", "wrong": "#D9480F",
    "ground": "#FFFFFF", "panel": "#F4F5F7", "line": "#DFE2E7", "text": "#16191F", "quiet": "#586172",
    "know": "#7A5C00",
}  # fmt: skip
_DARK = {
    "train": "#8A94A4", "eval": "#A58BFA", "test": "#51CF66", "right": "#5B9DF9", "wrong": "#FF8A4C",
    "ground": "#101216", "panel": "#1A1D23", "line": "#2E333C", "text": "#E8EAED", "quiet": "#A4ADBB",
    "know": "#EBC859",
}  # fmt: skip
_STEPS = {
    "light": {
        "right": ("#F1F6FE", "#E3EDFD", "#D3E3FC", "#BFD7FB", "#A9C9F9"),
        "wrong": ("#FADCCB", "#F5BB99", "#EE9A6A", "#E57A42", "#B93A08"),
    },
    "dark": {
        "right": ("#131E31", "#162741", "#193052", "#1D3B66", "#22487E"),
        "wrong": ("#4A2712", "#6B3314", "#8A4018", "#E9803F", "#FF9D68"),
    },
}
_RUNS = {
    "light": ("#C2255C", "#8A6D00", "#0B7285", "#862E9C", "#4B7A0B", "#A6501B", "#495057", "#364FC7"),
    "dark": ("#F783AC", "#E8BE3C", "#3BC9DB", "#DA77F2", "#A9E34B", "#E0976A", "#ADB5BD", "#91A7FF"),
}
NUM_STEPS = 5
NUM_RUNS = 8


def colour(name: str) -> str:
    """The name of a colour, as it stands in a figure."""
    return _TOKEN + name


def step(kind: str, number: int) -> str:
    """A step of the matrix: `right` or `wrong`, from 0 to NUM_STEPS - 1."""
    return _TOKEN + f"{kind}-{number}"


def run_colour(number: int) -> str:
    """The colour of the n-th run of a report."""
    return _TOKEN + f"run-{number % NUM_RUNS}"


def palettes() -> dict[str, dict[str, str]]:
    """Every colour by its name in a figure, for both themes."""
    return {
        theme: {
            **{_TOKEN + name: value for name, value in plain.items()},
            **{
                step(kind, number): value
                for kind, values in _STEPS[theme].items()
                for number, value in enumerate(values)
            },
            **{run_colour(number): value for number, value in enumerate(_RUNS[theme])},
        }
        for theme, plain in (("light", _LIGHT), ("dark", _DARK))
    }


def variables(theme: str) -> str:
    """The plain colours as CSS variables."""
    plain = _LIGHT if theme == "light" else _DARK
    return " ".join(f"--{name}: {value};" for name, value in plain.items())
