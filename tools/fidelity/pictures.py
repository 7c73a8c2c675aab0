"""The pictures of docs/FIDELITY.md."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import measures

SHOWN = ("sil", "PP", "FF", "TH", "DD", "LL", "SS", "CH", "KK", "RR", "AA", "AE", "EH", "IY", "AO", "OH", "UW", "WW")


def _font(size: int):
    return ImageFont.load_default(size)


def viseme_strip(seen: dict, path: Path) -> None:
    """For each viseme the held-out frame that is deepest within one: rendered above, predicted below."""
    columns = []
    for viseme in SHOWN:
        best = None
        for item in seen.values():
            for name, start, end in item["clip"]["visemes"]:
                frame = int(round((start + end) / 2 * measures.RATE))
                if name == viseme and frame < len(item["made"]):
                    length = min(end - start, 0.3)
                    if best is None or length > best[0]:
                        best = (length, item, frame)
        if best:
            columns.append((viseme, best[1]["true"]["bgr"][best[2]], best[1]["made"][best[2]]))
    per_row = (len(columns) + 1) // 2
    cell, gap, label = 132, 4, 20
    rows = 2
    width, height = per_row * (cell + gap) + 92, rows * (2 * (cell + gap) + label + 10)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (viseme, true, made) in enumerate(columns):
        x, y = 90 + (i % per_row) * (cell + gap), (i // per_row) * (2 * (cell + gap) + label + 10)
        draw.text((x + cell // 2, y + 2), viseme, fill="black", font=_font(15), anchor="ma")
        for k, picture in enumerate((true, made)):
            # The middle of the square: mouth and chin.
            image = Image.fromarray(picture[:, :, ::-1]).crop((20, 5, 140, 125)).resize((cell, cell), Image.Resampling.LANCZOS)
            sheet.paste(image, (x, y + label + k * (cell + gap)))
    for row in range(rows):
        y = row * (2 * (cell + gap) + label + 10) + label
        draw.text((84, y + cell // 2), "rendered", fill="black", font=_font(15), anchor="rm")
        draw.text((84, y + cell + gap + cell // 2), "predicted", fill="black", font=_font(15), anchor="rm")
    sheet.save(path, quality=88)


def opening_plot(seen: dict, path: Path) -> None:
    """Predicted and true opening over one held-out sentence, as an SVG, with the visemes beneath."""
    item = next(iter(seen.values()))
    true, made = item["true_height"], item["height"]
    count = len(true)
    width, height, left, top = 1000, 250, 46, 34
    high = max(true.max(), made.max()) * 1.08

    def points(curve):
        return " ".join(f"{left + i / (count - 1) * (width - left - 10):.1f},{top + height - v / high * height:.1f}" for i, v in enumerate(curve))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 100}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height + 100}" fill="white"/>',
        f'<text x="{left}" y="20" font-size="15">Opening of the mouth (pixels of 160): a held-out voice, a held-out sentence</text>',
    ]
    for level in range(0, int(high) + 1, 5):
        y = top + height - level / high * height
        parts.append(f'<line x1="{left}" x2="{width - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/><text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{level}</text>')
    for name, start, end in item["clip"]["visemes"]:
        x1, x2 = (left + t * measures.RATE / (count - 1) * (width - left - 10) for t in (start, end))
        if x2 > width:
            break
        if name == "PP":
            parts.append(f'<rect x="{x1:.1f}" y="{top}" width="{x2 - x1:.1f}" height="{height}" fill="#f3d9c9"/>')
        if name != "sil":
            parts.append(f'<text x="{(x1 + x2) / 2:.1f}" y="{top + height + 14}" font-size="7.5" text-anchor="middle">{name}</text>')
    for second in range(int(count / measures.RATE) + 1):
        x = left + second * measures.RATE / (count - 1) * (width - left - 10)
        parts.append(f'<text x="{x:.1f}" y="{top + height + 32}" text-anchor="middle">{second} s</text>')
    parts += [
        f'<polyline points="{points(true)}" fill="none" stroke="#888" stroke-width="2.5"/>',
        f'<polyline points="{points(made)}" fill="none" stroke="#c2410c" stroke-width="1.8"/>',
        f'<text x="{left}" y="{height + 86}" fill="#666">grey: the renderer</text>',
        f'<text x="{left + 150}" y="{height + 86}" fill="#c2410c">red: measured in the predicted pictures</text>',
        f'<text x="{left + 440}" y="{height + 86}">shaded: /p b m/, lips must touch</text>',
        f'<text x="{width - 10}" y="{height + 86}" text-anchor="end">voice {item["clip"]["voice"]}, r = {measures.correlation(true, made):.2f}</text>',
        "</svg>",
    ]
    path.write_text("\n".join(parts) + "\n")


def seam_picture(package, seen: dict, path: Path) -> None:
    """A prediction pasted without feathering, at full size, where the mouth is widest open."""
    item = max(seen.values(), key=lambda s: s["height"].max())
    i = int(np.argmax(item["height"]))
    frame = int(item["true"]["frame"][i])
    x1, y1, x2, y2 = package.index["bounds"][frame]
    full = Image.fromarray(package.composed(item["made"][i], frame))
    around = 60
    full.crop((int(x1) - around, int(y1) - around, int(x2) + around, int(y2) + around)).resize((640, 640), Image.Resampling.LANCZOS).save(
        path, quality=88
    )
