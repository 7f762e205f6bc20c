"""How a figure's value is written: as many digits as a noisy machine is good for."""

DIGITS = 4


def text(value: float) -> str:
    """`134,900`, `97.5`, `0.09`: four digits at most, and no more than two behind the point unless it begins with
    zeros there."""
    size = abs(value)
    if size >= 1_000:
        return f"{float(f'{value:.{DIGITS}g}'):,.0f}"
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.1 or size == 0 else f"{value:.2g}"
