"""Bars of time ÷ onnxruntime's, as an SVG: one group for each network, one bar for each program."""

from html import escape

COLOURS = {
    "lipsyncd": "#0b7a5c",
    "lipsyncd kept": "#7cc4ae",
    "lipsyncd int8": "#1f5fa8",
    "lipsyncd int8 kept": "#8fb5e0",
    "onnxruntime": "#6b7280",
    "OpenVINO": "#9aa3b2",
    "MNN": "#c3c9d4",
    "plain tract": "#d9a441",
}
# Ratios past this are cut off, and told by their number.
LIMIT = 2.0
LEFT, UNIT, BAR, GAP, TOP = 185, 280, 14, 14, 60


def bars(results):
    """`results`: milliseconds by network and program, onnxruntime's among them."""
    shapes, y = [], TOP
    for network, times in results.items():
        programs = [name for name in COLOURS if name in times]
        middle = y + len(programs) * BAR / 2
        shapes.append(f'<text x="{LEFT - 10}" y="{middle + 4:.0f}" text-anchor="end">{escape(network)}</text>')
        for program in programs:
            ratio = times[program] / times["onnxruntime"]
            width = min(ratio, LIMIT) * UNIT
            more = " →" if ratio > LIMIT else ""
            shapes.append(
                f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{COLOURS[program]}"/>'
                f'<text x="{LEFT + width + 5:.1f}" y="{y + BAR - 4}" class="n">{ratio:.2f}{more}</text>'
            )
            y += BAR
        y += GAP
    width, legend = LEFT + LIMIT * UNIT + 60, []
    shown = [program for program in COLOURS if any(program in times for times in results.values())]
    for number, program in enumerate(shown):
        x, above = LEFT + number % 4 * 135, 10 + number // 4 * 18
        legend.append(
            f'<rect x="{x}" y="{above}" width="10" height="10" fill="{COLOURS[program]}"/>'
            f'<text x="{x + 14}" y="{above + 9}" class="n">{escape(program)}</text>'
        )
    line = LEFT + UNIT
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {y + 16}" width="{width:.0f}" role="img">',
        "<title>Time of a forward pass divided by onnxruntime's; shorter is better</title>",
        "<style>text { font: 13px sans-serif; fill: #222 } .n { font-size: 11px }</style>",
        f'<rect width="100%" height="100%" fill="#fff"/>',
        *legend,
        *shapes,
        f'<path d="M{line} {TOP - 6}V{y - GAP + 6}" stroke="#222" stroke-dasharray="3 3"/>',
        f'<text x="{LEFT}" y="{y + 6}" class="n">time ÷ onnxruntime\'s; shorter is better</text>',
        "</svg>",
        "",
    ])
