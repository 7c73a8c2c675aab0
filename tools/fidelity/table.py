"""report.json → the tables of docs/FIDELITY.md.    python tools/fidelity/table.py report.json"""

import json
import sys


def row(cells) -> str:
    return "| " + " | ".join(cells) + " |"


def main(path: str) -> None:
    with open(path) as file:
        report = json.load(file)
    p, a = report["pictures"], report["pictures"]["all"]
    still = max(s["movement_grey"] for s in report["silence"].values())
    shut = max(s["opening_px"] for s in report["silence"].values())
    print(row(["what, on held-out voices and sentences", "asked", "reached"]))
    print(row(["---"] * 3))
    print(row(["opening, r with the renderer", "≥ 0.85", f"{a['opening_r']:.3f}"]))
    print(row(["offset of best correlation", "≤ 40 ms", f"{a['offset_ms']:+.0f} ms"]))
    print(row(["PSNR, lips rectangle: mean of frames / of speaking frames / pooled", "≥ 30 dB",
               f"{a['lips_psnr_mean_db']:.1f} / {a['lips_psnr_mean_speaking_db']:.1f} / {a['lips_psnr_pooled_db']:.1f} dB"]))
    print(row(["PSNR, moving rectangle: the same three", "≥ 30 dB",
               f"{a['moving_psnr_mean_db']:.1f} / {a['moving_psnr_mean_speaking_db']:.1f} / {a['moving_psnr_pooled_db']:.1f} dB"]))
    print(row(["SSIM, lips / moving rectangle", "", f"{a['lips_ssim']:.3f} / {a['moving_ssim']:.3f}"]))
    print(row([f"lips touch at /p b m/ ({a['bilabial_frames']} frames)", "≥ 80 %", f"{100 * a['closure']:.0f} %"]))
    print(row(["lips touch where the renderer's are open by 2 px or more", "", f"{100 * a['closed_when_open']:.1f} %"]))
    print(row(["silence: movement / opening, worst of three kinds", "< 0.5 grey levels, closed", f"{still:.2f} grey levels / {shut:.1f} px"]))
    print(row(["flicker outside the mouth", "< 1 grey level", f"{p['flicker_outside_grey']:.2f}"]))
    print(row(["seam: mean difference / largest step of a side", "not seen",
               f"{p['seam']['border_difference_grey']:.2f} / {p['seam']['largest_side_step_grey']:.2f} grey levels"]))
    print()
    print(row(["voice", "s", "opening r", "offset", "lips PSNR mean / speaking / pooled", "SSIM", "closure"]))
    print(row(["---"] * 7))
    for voice, f in p["by_voice"].items():
        print(row([voice, f"{f['seconds']:.0f}", f"{f['opening_r']:.3f}", f"{f['offset_ms']:+.0f} ms",
                   f"{f['lips_psnr_mean_db']:.1f} / {f['lips_psnr_mean_speaking_db']:.1f} / {f['lips_psnr_pooled_db']:.1f}",
                   f"{f['lips_ssim']:.3f}", f"{100 * f['closure']:.0f} % of {f['bilabial_frames']}"]))  # fmt: skip
    print()
    print(row(["voice, encoder alone", "s", "jaw r", "jaw rmse", "offset", "jaw while lips pressed"]))
    print(row(["---"] * 6))
    for voice, f in report["units"].items():
        print(row([voice, f"{f['seconds']:.0f}", f"{f['jaw_r']:.3f}", f"{f['jaw_rmse']:.3f}", f"{f['offset_ms']:+.0f} ms",
                   f"{f['jaw_while_pressed']:.3f}"]))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
