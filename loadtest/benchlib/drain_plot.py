"""The course of a drain as one SVG that needs nothing from outside, for light and dark pages."""

WIDTH, LEFT, RIGHT = 900, 76, 24
TOPS, HEIGHT = (72, 330), 190  # of the two plots

STYLE = """
  svg { background: var(--page); --page: #ffffff; --ink: #1c2430; --faint: #d5dae1; --bar: #3b78b8; --line: #c4541c; font: 13px system-ui, sans-serif }
  @media (prefers-color-scheme: dark) { svg { --page: #14181e; --ink: #e3e8ee; --faint: #353d48; --bar: #6ba4de; --line: #f08a50 } }
  text { fill: var(--ink) } .title { font-size: 16px; font-weight: 600 } .end { text-anchor: end } .middle { text-anchor: middle }
  .grid { stroke: var(--faint) } .bar { fill: var(--bar) } .left { stroke: var(--bar); fill: none; stroke-width: 2.5 }
  .wanted { stroke: var(--line); fill: none; stroke-width: 1.5; stroke-dasharray: 6 4 } .key { fill: var(--line) }
"""


def nice(most, steps=4):
    """A round step that divides an axis up to `most` into about `steps`."""
    size = 1.0
    while size * 10 <= most / steps:
        size *= 10
    while size > most / steps and most > 0:
        size /= 10
    return next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor * (steps + 1) >= most)


def axes(top, title, seconds, most):
    """Frame, grid and numbers of one plot; and how to place a point in it."""
    def x(t):
        return LEFT + (WIDTH - LEFT - RIGHT) * t / seconds

    def y(value):
        return top + HEIGHT * (1 - value / most)

    out = [f'<text x="{LEFT}" y="{top - 10}">{title}</text>']
    step = nice(most)
    for i in range(int(most / step) + 1):
        at = y(i * step)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
                   f'<text class="end" x="{LEFT - 8}" y="{at + 4:.1f}">{i * step:,.0f}</text>')
    step = nice(seconds, 8)
    for i in range(int(seconds / step) + 1):
        out.append(f'<text class="middle" x="{x(i * step):.1f}" y="{top + HEIGHT + 18}">{i * step:g} s</text>')
    return out, x, y


def svg(found, samples):
    grace, span, opened = found["drain_grace"], found["drain_timeout"], found["opened"]
    seconds = max(samples[-1][0], grace + span) * 1.02
    rates = [(t0, t1, (left0 - left1) / (t1 - t0)) for (t0, left0), (t1, left1) in zip(samples, samples[1:]) if t1 > t0]
    most = max(max(rate for _, _, rate in rates), found["mean_per_second"]) * 1.1
    height = TOPS[1] + HEIGHT + 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
           f"<style>{STYLE}</style>",
           f'<text class="title" x="{LEFT}" y="30">{opened:,} connections drained over {span:g} s</text>']
    frame, x, y = axes(TOPS[0], "closes a second, by quarters of a second", seconds, most)
    out += frame
    for t0, t1, rate in rates:
        if rate > 0:
            out.append(f'<rect class="bar" x="{x(t0) + 0.4:.1f}" y="{y(rate):.1f}" width="{max(0.6, x(t1) - x(t0) - 0.8):.1f}" '
                       f'height="{max(0.0, TOPS[0] + HEIGHT - y(rate)):.1f}"/>')
    mean = y(found["mean_per_second"])
    out.append(f'<path class="wanted" d="M{x(grace):.1f} {mean:.1f}H{x(grace + span):.1f}"/>')
    out.append(f'<text class="end key" style="fill: var(--line)" x="{WIDTH - RIGHT}" y="{TOPS[0] - 10}">- - even: {found["mean_per_second"]:,.0f} a second</text>')
    frame, x, y = axes(TOPS[1], "connections left", seconds, opened * 1.05)
    out += frame
    out.append('<path class="left" d="M' + "L".join(f"{x(t):.1f} {y(left):.1f}" for t, left in samples) + '"/>')
    out.append(f'<path class="wanted" d="M{x(grace):.1f} {y(opened):.1f}L{x(grace + span):.1f} {y(0):.1f}"/>')
    return "\n".join(out + ["</svg>"]) + "\n"
