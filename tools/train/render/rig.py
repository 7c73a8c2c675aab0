"""The character: shape, mouth units, head pose, blinks, and everything that the rasteriser needs of one picture."""
import ctypes
import os
import subprocess

import numpy as np
import scipy.sparse as sp
from PIL import Image
from scipy.spatial import cKDTree

import mesh

SIZE = 720  # full frame, pixels
SCALE = 155.0  # pixels per mesh unit at z = 1
CAMERA = np.array([0.0, 6.48, 26.0])
CENTER_Y = 6.33  # world height in the middle of the picture

SHAPE = {
    "macrodetails/caucasian-female-young": 1.0,
    "head/head-oval": 0.45,
    "head/head-scale-horiz-incr": 0.12,
    "cheek/l-cheek-bones-incr": 0.45,
    "cheek/r-cheek-bones-incr": 0.45,
    "chin/chin-width-decr": 0.25,
    "nose/nose-scale-horiz-decr": 0.22,
    "nose/nose-point-width-decr": 0.2,
    "eyes/l-eye-scale-incr": 0.85,
    "eyes/r-eye-scale-incr": 0.85,
    "mouth/mouth-scale-horiz-incr": 0.10,
    "mouth/mouth-upperlip-volume-incr": 0.35,
    "mouth/mouth-lowerlip-volume-incr": 0.25,
    "mouth/mouth-angles-up": 0.35,
    "neck/neck-scale-horiz-decr": 0.45,
    "neck/neck-scale-depth-decr": 0.3,
}
UNITS = ["jaw_open", "lips_pressed", "lips_round", "lips_wide", "lips_funnel", "upper_lip_raise", "lower_lip_lower",
         "lower_lip_tuck", "tongue_tip_up", "tongue_out"]
EXPR = "expression/units/caucasian/"
# unit -> expression targets and weights; what they lack is added in Rig.shape
COMPOSE = {
    "jaw_open": {"mouth-open": 0.95, "mouth-elevation": 0.30},
    "lips_pressed": {"mouth-compression": 0.32},
    "lips_round": {"mouth-pursing": 1.0, "mouth-protusion": 0.22},
    "lips_wide": {"mouth-retraction": 0.70, "mouth-corner-puller": 0.15},
    "lips_funnel": {"mouth-protusion": 0.42, "mouth-eversion": 0.5, "mouth-pursing": 0.35},
    "upper_lip_raise": {"mouth-elevation": 0.75},
    "lower_lip_tuck": {"mouth-elevation": 0.32},
    "lower_lip_lower": {"mouth-part-later": 0.20, "mouth-depression-retraction": 0.28},
}
# the closed, relaxed mouth: lips that meet along their whole length, corners a little up
RELAXED = {"mouth-compression": 0.50, "mouth-corner-puller": 0.10, "mouth-depression": 0.16}


def smoothstep(a, b, x):
    t = np.clip((x - a) / (b - a), 0, 1)
    return t * t * (3 - 2 * t)


def build_library():
    """Compiles raster.c for this machine (once per source) and loads it."""
    src = os.path.join(os.path.dirname(os.path.abspath(__file__)), "raster.c")
    # A folder of this user alone: what lies in one that others can write to must not be loaded.
    folder = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "lipsyncd")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    out = os.path.join(folder, f"face-raster-{int(os.stat(src).st_mtime_ns)}.so")
    if not os.path.exists(out):
        tmp = f"{out}.{os.getpid()}"
        subprocess.check_call(["gcc", "-O3", "-march=native", "-ffast-math", "-fPIC", "-shared", src, "-o", tmp, "-lm"])
        os.replace(tmp, out)
    return ctypes.CDLL(out)


def ptr(a):
    assert a.flags.c_contiguous and a.dtype in (np.float32, np.int32, np.uint8), (a.dtype, a.flags)
    return a.ctypes.data_as(ctypes.c_void_p)


def f32(a):
    return np.ascontiguousarray(a, np.float32)


def i32(a):
    return np.ascontiguousarray(a, np.int32)


class SceneC(ctypes.Structure):
    _fields_ = ([(n, ctypes.c_void_p) for n in ("P", "V", "N", "R", "E", "G", "UV", "T", "M")] + [("nt", ctypes.c_int), ("mask", ctypes.c_void_p), ("ms", ctypes.c_int), ("cam", ctypes.c_void_p),
                ("sdir", ctypes.c_void_p), ("scol", ctypes.c_void_p), ("sgrp", ctypes.c_void_p), ("ns", ctypes.c_int), ("eyes", ctypes.c_void_p), ("skin", ctypes.c_void_p)])


def unit(v):
    v = np.asarray(v, float)
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


def lights():
    """Directions [n,3], colours [n,3], group: 0 key window, 1 rim, 2 sky dome, 3 fill."""
    rng = np.random.default_rng(5)
    d, c, g = [], [], []

    def area(axis, spread, n, color, group):
        axis = unit(axis)
        for i in range(n):  # sunflower disc around the axis
            r, a = spread * np.sqrt((i + 0.5) / n), i * 2.39996
            t = unit(np.cross(axis, [0, 1, 0.01]))
            b = np.cross(axis, t)
            d.append(unit(axis + r * np.cos(a) * t + r * np.sin(a) * b))
            c.append(np.array(color) / n)
            g.append(group)

    area([-0.62, 0.42, 0.78], 0.42, 11, np.array([1.0, 0.93, 0.85]) * 1.80, 0)
    area([0.85, 0.40, -0.50], 0.30, 4, np.array([1.0, 0.80, 0.60]) * 0.85, 1)
    area([0.75, 0.05, 0.85], 0.45, 5, np.array([0.80, 0.88, 1.0]) * 0.30, 3)
    n = 18
    for i in range(n):  # dome, brighter above; a little light comes back from below
        y = 1 - 1.35 * (i + 0.5) / n
        a = i * 2.39996 + 0.4
        r = np.sqrt(max(0, 1 - y * y))
        v = np.array([r * np.cos(a), y, r * np.sin(a)])
        w = 0.72 + 0.5 * y
        d.append(v)
        c.append(np.array([0.90, 0.94, 1.0]) * w * 0.68 / n + (np.array([0.12, 0.07, 0.04]) / n if y < 0 else 0))
        g.append(2)
    del rng
    return f32(np.array(d)), f32(np.array(c)), i32(np.array(g))


class Rig:
    def __init__(self, root):
        self.lib = build_library()
        b = self.base = mesh.Base(root, SHAPE)
        v = b.v
        head = b.quads["body"]
        keep = ((v[head[:, :, 0]][:, :, 1] > 4.9).all(1)) & (np.abs(v[head[:, :, 0]][:, :, 0]) < 1.7).all(1)
        self.parts = {}
        self._add("skin", head[keep], 0, 1)
        self._add("upper", b.quads["helper-upper-teeth"], 2, 2)
        self._add("lower", b.quads["helper-lower-teeth"], 2, 2)
        self._add("tongue", b.quads["helper-tongue"], 3, 1)
        cm, coff, cq = b.fitted("clothes/female_casualsuit01")
        cv = cm @ v + coff
        cq = cq[(cv[cq][:, :, 1] > 2.5).all(1)]
        used, cq2 = mesh.compact(cq)
        s, q2, _ = mesh.subdivide(cq2, len(used))
        self.cloth = (s @ cm[used], s @ coff[used])
        self.cloth_quads = q2
        self._expressions()
        self._eyes()
        self._assemble()
        self.masks = self._load_masks(root)
        self.ldir, self.lcol, self.lgrp = lights()
        self.hair = None
        self.hair_vis = None
        self.scalp = None

    # -- construction ---------------------------------------------------------------------------------------

    def _add(self, name, quads, material, levels):
        b = self.base
        uv = b.uv[quads[:, :, 1]]
        used, q = mesh.compact(quads[:, :, 0])
        m = sp.identity(len(used)).tocsr()
        n = len(used)
        for _ in range(levels):
            s, q, mix = mesh.subdivide(q, n)
            uv = np.einsum("mkc,mcd->mkd", mix, np.repeat(uv, 4, 0))
            m, n = s @ m, s.shape[0]
        pick = sp.csr_matrix((np.ones(len(used)), (np.arange(len(used)), used)), (len(used), len(b.v)))
        self.parts[name] = dict(matrix=(m @ pick).tocsr(), quads=q, uv=uv, material=material)

    def _expressions(self):
        b = self.base
        rest = b.v
        x, y = np.abs(rest[:, 0]), rest[:, 1]
        # movement of the mouth ends inside the region that the network repaints
        fade = (1 - smoothstep(0.44, 0.57, x)) * (1 - smoothstep(6.46, 6.57, y)) * smoothstep(5.42, 5.60, y)
        inner = np.arange(len(rest)) >= 13380
        fade[inner] = 1
        self.units = np.zeros((len(UNITS),) + rest.shape)
        for i, n in enumerate(UNITS):
            for t, w in COMPOSE.get(n, {}).items():
                self.units[i] += w * b.target(EXPR + t)
        self.units *= fade[:, None]
        self.relaxed = sum(w * b.target(EXPR + t) for t, w in RELAXED.items()) * fade[:, None]
        # share of the jaw's movement: 1 on the lower lip and the chin, 0 on the upper lip
        opening = b.target(EXPR + "mouth-open")
        low = np.clip(-opening[:, 1] / 0.24, 0, 1) * ~inner
        front = smoothstep(1.05, 1.25, rest[:, 2]) * (1 - smoothstep(0.13, 0.27, x))
        self.lower_lip = low * front * np.exp(-(((y - 6.15) / 0.085) ** 2))
        self.seal = low * (1 - smoothstep(0.30, 0.5, x)) * smoothstep(1.0, 1.2, rest[:, 2]) * smoothstep(5.86, 6.06, y)
        self.tongue_index = np.unique(b.quads["helper-tongue"][:, :, 0])
        self.lower_index = np.unique(b.quads["helper-lower-teeth"][:, :, 0])
        self.upper_index = np.unique(b.quads["helper-upper-teeth"][:, :, 0])
        self.units[:, np.r_[self.tongue_index, self.lower_index, self.upper_index]] = 0
        self.blink = b.target(EXPR + "eye-left-closure") + b.target(EXPR + "eye-right-closure")
        self.squint = b.target(EXPR + "eye-left-slit") + b.target(EXPR + "eye-right-slit")
        self.brow = b.target(EXPR + "eyebrows-left-up") + b.target(EXPR + "eyebrows-right-up")
        self.smile = (b.target(EXPR + "mouth-corner-puller")) * fade[:, None]

    def _eyes(self):
        b = self.base
        self.eyes = []
        for side in "lr":
            idx = np.unique(b.quads[f"helper-{side}-eye"][:, :, 0])
            p = b.v[idx]
            a = np.c_[2 * p, np.ones(len(p))]
            sol = np.linalg.lstsq(a, (p**2).sum(1), rcond=None)[0]
            c = sol[:3]
            self.eyes.append((c, np.sqrt(sol[3] + c @ c)))
        n, m = 28, 40  # a fine hemisphere towards the viewer
        th = np.linspace(0, 1.9, n)
        ph = np.linspace(0, 2 * np.pi, m, endpoint=False)
        g = np.stack([np.sin(th)[:, None] * np.cos(ph), np.sin(th)[:, None] * np.sin(ph), np.cos(th)[:, None] * np.ones(m)], 2).reshape(-1, 3)
        i, j = np.meshgrid(np.arange(n - 1), np.arange(m), indexing="ij")
        q = np.stack([i * m + j, i * m + (j + 1) % m, (i + 1) * m + (j + 1) % m, (i + 1) * m + j], -1).reshape(-1, 4)
        self.ball, self.ball_quads = g, q

    def _assemble(self):
        """Stacks all parts: matrix from base vertices, triangles, UVs, materials, rest positions."""
        mats, quads, uvs, mat, off = [], [], [], [], 0
        self.slices = {}
        for name, p in self.parts.items():
            mats.append(p["matrix"])
            quads.append(p["quads"] + off)
            uvs.append(p["uv"])
            mat += [p["material"]] * len(p["quads"])
            self.slices[name] = slice(off, off + p["matrix"].shape[0])
            off += p["matrix"].shape[0]
        # the lashes' guide vertices are carried along, without faces
        b = self.base
        self.lash_index = np.unique(np.concatenate([b.quads[g][:, :, 0].ravel() for g in b.quads if "eyelashes" in g]))
        n = len(self.lash_index)
        mats.append(sp.csr_matrix((np.ones(n), (np.arange(n), self.lash_index)), (n, len(b.v))))
        self.slices["lash"] = slice(off, off + n)
        off += n
        mats.append(self.cloth[0])
        quads.append(self.cloth_quads + off)
        uvs.append(np.zeros((len(self.cloth_quads), 4, 2)))
        mat += [4] * len(self.cloth_quads)
        self.slices["cloth"] = slice(off, off + self.cloth[0].shape[0])
        off += self.cloth[0].shape[0]
        self.matrix = sp.vstack(mats).tocsr()
        self.n_mesh = off
        for e, (c, r) in enumerate(self.eyes):
            quads.append(self.ball_quads + off)
            uvs.append(np.zeros((len(self.ball_quads), 4, 2)))
            mat += [1] * len(self.ball_quads)
            self.slices[f"eye{e}"] = slice(off, off + len(self.ball))
            off += len(self.ball)
        self.nv = off
        q = np.concatenate(quads)
        uv = np.concatenate(uvs)
        self.T = i32(mesh.triangles(q))
        self.UV = f32(np.concatenate([uv[:, [0, 1, 2]], uv[:, [0, 2, 3]]]))
        self.M = i32(np.concatenate([mat, mat]))
        self.rest = f32(self._world(self.base.v))
        # neighbours on the skin, for the spreading of light below it
        sk = self.parts["skin"]["quads"]
        n = self.parts["skin"]["matrix"].shape[0]
        e = np.concatenate([sk[:, [0, 1]], sk[:, [1, 2]], sk[:, [2, 3]], sk[:, [3, 0]]])
        a = sp.csr_matrix((np.ones(len(e)), (e[:, 0], e[:, 1])), (n, n))
        a = ((a + a.T) > 0).astype(float) + sp.identity(n)
        self.spread = sp.diags(1 / np.asarray(a.sum(1)).ravel()) @ a
        self.spread = self.spread.astype(np.float32).tocsr()
        # teeth: arc length along the row and height above the edge, as UVs of the corners
        for name, edge, sign in (("upper", 6.2, 1), ("lower", 6.25, -1)):
            sl = self.slices[name]
            p = self.rest[sl]
            out = p[p[:, 2] > 0.8]
            a = np.arctan2(out[:, 0], out[:, 2] - 0.9)
            bins = np.linspace(-1.45, 1.45, 59)
            far = [np.max(np.hypot(out[m, 0], out[m, 2] - 0.9), initial=0.2) for m in (np.abs(a - c) < 0.06 for c in bins)]
            x, z = np.array(far) * np.sin(bins), np.array(far) * np.cos(bins)
            arc = np.r_[0, np.cumsum(np.hypot(np.diff(x), np.diff(z)))]
            arc -= np.interp(0, bins, arc)
            s_ = np.interp(np.arctan2(p[:, 0], np.maximum(p[:, 2] - 0.9, 0.02)), bins, arc)
            h = sign * (p[:, 1] - edge)
            t = np.where((self.T[:, 0] >= sl.start) & (self.T[:, 0] < sl.stop))[0]
            i = self.T[t] - sl.start
            self.UV[t] = np.stack([s_[i] + (0 if sign > 0 else 10), h[i]], 2)
        # cloth and deep parts of the neck follow the chest, the head is rigid
        y, z = self.rest[:, 1], self.rest[:, 2]
        self.head_weight = smoothstep(4.95, 5.95, y + 0.25 * np.clip(z - 0.4, -1, 1)).astype(np.float32)
        self.head_weight[self.slices["cloth"]] *= 0.25
        # what the mouth moves, and where its light may change
        moved = np.zeros(len(self.base.v), bool)
        moved |= (np.abs(self.units).max((0, 2)) > 1e-6) | (np.abs(self.relaxed).max(1) > 1e-6) | (self.lower_lip > 1e-4)
        moved[self.tongue_index] = moved[self.lower_index] = True
        mv = np.zeros(self.nv, bool)
        mv[:self.n_mesh] = (self.matrix @ moved.astype(float)) > 0
        t = mv[self.T].any(1)
        self.moving_tris, self.static_tris = i32(self.T[t]), i32(self.T[~t])
        x = np.abs(self.rest[:, 0])
        fade = (1 - smoothstep(0.49, 0.585, x)) * smoothstep(5.41, 5.54, y) * (1 - smoothstep(6.47, 6.56, y)) * (z > 0.2)
        fade[self.slices["cloth"]] = 0
        for n in ("upper", "lower", "tongue"):
            fade[self.slices[n]] = 1
        self.light_fade = f32(fade)
        self.lit = i32(np.union1d(np.where(fade > 0)[0], self.moving_tris))
        self.chest_weight = (1 - smoothstep(5.0, 5.9, y)).astype(np.float32)

    def _load_masks(self, root):
        m = []
        for n in ("mpfb_lips", "mpfb_inside-mouth", "mpfb_eyelids"):
            m.append(np.array(Image.open(os.path.join(root, "masks", n + ".jpg")).convert("L")))
        m.append(np.zeros_like(m[0]))
        return np.ascontiguousarray(np.stack(m, 2))

    # -- posing ---------------------------------------------------------------------------------------------

    def _world(self, base):
        v = self.matrix @ base
        v[self.slices["cloth"]] += self.cloth[1]
        eyes = [c + self.ball * r for c, r in self.eyes]
        return np.concatenate([v] + eyes)

    def head_transform(self, pose):
        """Rotation [3,3] and pivot of the head for yaw, pitch, roll (radians) and shift."""
        y, p, r = pose.get("yaw", 0), pose.get("pitch", 0), pose.get("roll", 0)
        cy, sy, cp, spi, cr, sr = np.cos(y), np.sin(y), np.cos(p), np.sin(p), np.cos(r), np.sin(r)
        ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        rx = np.array([[1, 0, 0], [0, cp, -spi], [0, spi, cp]])
        rz = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        return rz @ ry @ rx, np.array([0, 5.75, 0.25]), np.array(pose.get("shift", (0, 0, 0)), float)

    def apply_pose(self, v, w, chest, pose):
        m, pivot, shift = self.head_transform(pose)
        moved = (v - pivot) @ m.T + pivot + shift
        out = v + w[:, None] * (moved - v)
        breath = pose.get("breath", 0)
        return out + chest[:, None] * np.array([0, 0.022, 0.012]) * breath

    def shape(self, units, pose):
        """Base vertices for the ten unit values and the pose's lids and brows."""
        u = np.clip(np.asarray(units, float), 0, 1.2)
        jaw, pressed, tuck, tip, out = u[0], u[1], u[7], u[8], u[9]
        w = u.copy()
        w[[4, 5, 6]] *= 1 - 0.95 * pressed  # pressed lips are closed, whatever else is asked
        w[2] *= 1 - 0.5 * pressed
        v = self.base.v + self.relaxed * (1 - 0.5 * min(1, w[2] + w[3]))
        v = v + np.tensordot(w, self.units, 1)
        v = v - ((pressed * (jaw + 0.02) + 0.5 * (1 - pressed) * w[2] * jaw * (1 - jaw)) * self.seal)[:, None] * self.units[0]
        # f and v: the lower lip comes up and back until it meets the edge of the upper teeth
        v = v + (tuck * self.lower_lip)[:, None] * np.array([0, 0.026 + 0.22 * jaw, -0.066])
        v = v + pose.get("blink", 0) * self.blink + pose.get("squint", 0) * self.squint + pose.get("brow", 0) * self.brow
        v = v + (0.10 + pose.get("smile", 0)) * self.smile + 0.14 * self.squint
        # lower teeth and tongue turn with the jaw about the joint before the ears
        t = self.tongue_index
        r = self.base.v[t]
        tipw = smoothstep(0.80, 1.18, r[:, 2])
        q = r - np.array([0, 0.055, 0.02]) + np.stack([0 * tipw, -0.05 * (1 - tipw) * jaw, 0 * tipw], 1)
        q = q + tip * tipw[:, None] * np.array([0, 0.115 + 0.20 * jaw, 0.075])
        q[:, 1] += out * (tipw * 0.060 - 0.45 * tipw * (q[:, 1] - 6.2))
        q[:, 2] += out * tipw * 0.185
        v[t] = q
        v[self.lower_index] = self.base.v[self.lower_index] + np.array([0, -0.012, -0.01])
        low = np.r_[t, self.lower_index]
        ang = 0.255 * jaw
        c, s = np.cos(ang), np.sin(ang)
        d = v[low] - np.array([0, 6.55, 0.35])
        v[low] = np.array([0, 6.55, 0.35]) + np.stack([d[:, 0], c * d[:, 1] - s * d[:, 2], s * d[:, 1] + c * d[:, 2]], 1)
        v[self.upper_index] = self.base.v[self.upper_index] + np.array([0, -0.046, 0.012])
        return v

    def project(self, v):
        """World points to full-frame pixels and depth."""
        d = CAMERA[2] - v[:, 2]
        k = SCALE * (CAMERA[2] - 1.0) / d
        return np.stack([SIZE / 2 + (v[:, 0] - CAMERA[0]) * k, SIZE / 2 + (CAMERA[1] - v[:, 1]) * k - (CAMERA[1] - CENTER_Y) * SCALE, d], 1)

    # -- a picture ------------------------------------------------------------------------------------------

    def _gather(self, V, N, tris, E, G, hair, zstart=None, zsave=None, idx=None, size=384):
        hv = ptr(self.hair_vis) if self.hair_vis is not None and hair else None
        self.lib.gather(ptr(V), ptr(N), self.nv, ptr(tris), len(tris), ptr(f32([0, 6.4, 0.4])), ctypes.c_float(1.75), size, ptr(self.ldir), ptr(self.lcol), ptr(self.lgrp),
                        len(self.ldir), hv, ctypes.c_float(0.022), ptr(f32([0.32, 0.12, 0.08])), zstart is not None and ptr(zstart) or None, zsave is not None and ptr(zsave) or None,
                        idx is not None and ptr(idx) or None, 0 if idx is None else len(idx), ptr(E), ptr(G))

    def _pose_vertices(self, units, pose):
        V = self._world(self.shape(units, pose))
        V = f32(self.apply_pose(V, self.head_weight, self.chest_weight, pose))
        N = f32(mesh.normals(V, self.T))
        rot, pivot, shift = self.head_transform(pose)
        eyes = np.zeros((2, 10), np.float32)
        gx, gy = pose.get("gaze", (0, 0))
        for e, (c, r) in enumerate(self.eyes):
            c2 = rot @ (c - pivot) + pivot + shift
            sl = self.slices[f"eye{e}"]
            N[sl] = unit(V[sl] - c2)
            eyes[e, :3], eyes[e, 3], eyes[e, 4:7] = c2, r, unit(np.array([gx, gy, 0]) * 10 + CAMERA - c2)
        return V, N, eyes

    def _finish_light(self, E, hair):
        s = self.slices["skin"]
        if self.scalp is not None and hair:
            E *= 1 - self.scalp[:, None] * np.array([0.62, 0.70, 0.74], np.float32)
        e = E[s]
        for k in range(9):  # red light travels farthest below the skin
            nxt = self.spread @ e
            nxt[:, 1] = nxt[:, 1] if k < 4 else e[:, 1]
            nxt[:, 2] = nxt[:, 2] if k < 2 else e[:, 2]
            e = nxt
        E[s] = e
        for name in ("upper", "lower", "tongue"):
            E[self.slices[name]] += f32([0.050, 0.040, 0.036]) * (2.4 if name == "tongue" else 1)

    def prepare(self, pose, window=None, hair=True):
        """What pictures of one pose share: light with the mouth at rest, shadow maps of all that the mouth does not
        move, and the hair (its segments that touch `window`, where one is given)."""
        zeros = np.zeros(10)
        V, N, eyes = self._pose_vertices(zeros, pose)
        E, G = np.zeros((self.nv, 3), np.float32), np.zeros((self.nv, 4), np.float32)
        still = dict(pose=pose, window=window)
        still["z"] = np.zeros((len(self.ldir), 384, 384), np.float32)
        none = i32(np.zeros(0))
        self._gather(V, N, self.static_tris, E, G, hair, zsave=still["z"], idx=none)
        self._gather(V, N, self.moving_tris, E, G, hair, zstart=still["z"])
        still["raw"] = (E.copy(), G.copy())
        self._finish_light(E, hair)
        still["light"] = (E, G)
        if hair and self.hair is not None:
            rot, pivot, shift = self.head_transform(pose)
            SP, S, HC = self.hair.pose(self, V, pose, rot, pivot, shift)
            SP = f32(self.project(SP))
            if window is not None:
                x0, y0, w, h = window
                a, b = SP[S[:, 0]], SP[S[:, 1]]
                ok = (np.maximum(a[:, 0], b[:, 0]) > x0 - 2) & (np.minimum(a[:, 0], b[:, 0]) < x0 + w + 2) & (np.maximum(a[:, 1], b[:, 1]) > y0 - 2) & (np.minimum(a[:, 1], b[:, 1]) < y0 + h + 2)
                S = S[ok]
                used, inv = np.unique(S, return_inverse=True)
                SP, HC, S = SP[used], HC[used], inv.reshape(-1, 2)
            still["hair"] = (SP, i32(S), f32(HC))
        return still

    def render(self, units=None, pose=None, window=(0, 0, SIZE, SIZE), ss=3, background=None, hair=True, still=None):
        """BGR bytes [h,w,3] of the window (x, y, w, h in full-frame pixels) with ss x ss samples a pixel.

        Outside a box around the mouth the light is that of the closed mouth, so that nothing changes at the border
        of the square that the network repaints.
        """
        lib = self.lib
        if still is None:
            still = self.prepare(pose or {}, hair=hair)
        pose = still["pose"]
        if units is None or not np.any(units):
            V, N, eyes = self._pose_vertices(np.zeros(10), pose)
            E, G = still["light"]
        else:
            V, N, eyes = self._pose_vertices(units, pose)
            E, G = still["raw"][0].copy(), still["raw"][1].copy()
            self._gather(V, N, self.moving_tris, E, G, hair, zstart=still["z"], idx=self.lit)
            self._finish_light(E, hair)
            m = self.light_fade[:, None]
            E = f32(still["light"][0] + m * (E - still["light"][0]))
            G = f32(still["light"][1] + m * (G - still["light"][1]))
        x0, y0, w, h = window
        P = self.project(V)
        P[:, 0], P[:, 1] = (P[:, 0] - x0) * ss, (P[:, 1] - y0) * ss
        P = f32(P)
        W, H = w * ss, h * ss
        zb, ib = np.full((H, W), 1e9, np.float32), np.full((H, W), -1, np.int32)
        lib.raster(ptr(P), ptr(self.T), len(self.T), 0, W, H, ptr(zb), ptr(ib))
        SP, S, HC, ns = np.zeros((1, 3), np.float32), np.zeros((1, 2), np.int32), np.zeros((1, 3), np.float32), 0
        if "hair" in still:
            SP, S, HC = still["hair"]
            SP = f32((SP - f32([x0, y0, 0])) * f32([ss, ss, 1]))
            ns = len(S)
            lib.raster_lines(ptr(SP), ptr(S), ns, len(self.T), ctypes.c_float(1.0 if ss < 4 else 1.34), W, H, ptr(zb), ptr(ib))
        if background is None:
            bg = np.zeros((H, W, 3), np.float32) + f32([0.10, 0.10, 0.11])
        else:
            bg = f32(np.repeat(np.repeat(background[y0:y0 + h, x0:x0 + w], ss, 0), ss, 1))
        key = unit([-0.62, 0.42, 0.78])
        sd = f32([key, unit([-0.30, 0.62, 0.75]), unit([0.85, 0.40, -0.50]), unit([0.75, 0.05, 0.85])])
        sc = f32([[1.9, 1.77, 1.6], [0.55, 0.55, 0.55], [2.0, 1.6, 1.2], [0.55, 0.62, 0.72]])
        sg = i32([0, 0, 1, 3])
        skin = f32([0.575, 0.330, 0.235, 0.45, 0.155, 0.145, *key, 0.0, 1.1, 1.1, 1.1, 0.030, 0.058, 0.085])
        cam = f32(CAMERA)
        scene = SceneC(P=ptr(P), V=ptr(V), N=ptr(N), R=ptr(self.rest), E=ptr(E), G=ptr(G), UV=ptr(self.UV), T=ptr(self.T), M=ptr(self.M), nt=len(self.T),
                       mask=ptr(self.masks), ms=self.masks.shape[0], cam=ptr(cam), sdir=ptr(sd), scol=ptr(sc), sgrp=ptr(sg), ns=len(sd), eyes=ptr(eyes), skin=ptr(skin))
        rgb, out = np.zeros((H, W, 3), np.float32), np.zeros((h, w, 3), np.uint8)
        lib.shade(ctypes.byref(scene), ptr(ib), W, H, ptr(SP), ptr(S), ptr(HC), ns, ptr(bg), ptr(rgb))
        lib.resolve(ptr(rgb), w, h, ss, ctypes.c_float(0.92), ptr(out))
        return out
