"""Hair, brows and lashes as strands, grown by rule over the head (the mesh's own hair pieces are not used)."""
import ctypes

import numpy as np
from scipy.spatial import cKDTree

import mesh
from rig import f32, i32, ptr, smoothstep, unit

PART_X = 0.20  # the parting, on the character's left
STEP, POINTS = 0.05, 56
HAIR_LIGHTS = [([-0.62, 0.42, 0.78], [2.1, 1.95, 1.75]), ([0.85, 0.40, -0.50], [2.0, 1.55, 1.1]), ([-0.7, 0.5, -0.6], [0.55, 0.6, 0.7]),
               ([0.75, 0.05, 0.85], [0.42, 0.47, 0.55]), ([0.05, 0.95, 0.30], [0.95, 0.97, 1.0])]
AMBIENT_DIRS = [[0, 1, 0.2], [-0.8, 0.4, 0.4], [0.8, 0.4, 0.4], [0, 0.1, 1], [-0.9, 0, -0.3], [0.9, 0, -0.3]]


# The hairline seen from the side: height and depth, from the nape over the ear and the temple to the forehead.
LINE_Y = [6.05, 6.35, 6.52, 6.72, 6.84, 6.95, 7.07, 7.19, 7.29, 7.37, 7.44]
LINE_Z = [-0.5, 0.0, 0.16, 0.46, 0.66, 0.80, 0.93, 1.05, 1.16, 1.27, 2.0]


def hairline(p, rng, jitter=0.022):
    """True where hair grows: behind a line on the side of the head, ears excluded."""
    y = p[:, 1] + rng.normal(0, jitter, len(p))
    zl = np.interp(y, LINE_Y, LINE_Z)
    ear = (np.abs(p[:, 0]) > 0.74) & (p[:, 1] < 6.88) & (p[:, 2] > 0.14) & (p[:, 2] < 0.62)
    return (p[:, 2] + rng.normal(0, jitter, len(p)) < zl) & (p[:, 1] > 6.12) & ~ear


def sample(v, tris, n, rng):
    """n points spread evenly over triangles: positions and normals."""
    a, b, c = (v[tris[:, k]] for k in range(3))
    nrm = np.cross(b - a, c - a)
    area = np.linalg.norm(nrm, axis=1)
    t = rng.choice(len(tris), n, p=area / area.sum())
    r1, r2 = np.sqrt(rng.random(n))[:, None], rng.random(n)[:, None]
    return (1 - r1) * a[t] + r1 * (1 - r2) * b[t] + r1 * r2 * c[t], unit(nrm[t])


class Hair:
    def __init__(self, rig, count=30000, seed=11):
        rng = np.random.default_rng(seed)
        s = rig.slices["skin"]
        self.rest = rig.rest.astype(float)
        v = self.rest
        skin_t = rig.T[(rig.M == 0)]
        body_t = rig.T[(rig.M == 0) | (rig.M == 4)]
        n = mesh.normals(v, rig.T)
        solid = np.r_[np.arange(s.start, s.stop), np.arange(rig.slices["cloth"].start, rig.slices["cloth"].stop)]
        # the inside of the mouth and the ears are no obstacle
        solid = solid[~((np.abs(v[solid, 0]) > 0.78) & (v[solid, 1] > 6.3) & (v[solid, 1] < 6.9))]
        solid = solid[~((v[solid, 2] < 1.25) & (v[solid, 2] > 0.7) & (np.abs(v[solid, 0]) < 0.3) & (v[solid, 1] > 5.85) & (v[solid, 1] < 6.6))]
        self.tree, self.sv, self.sn = cKDTree(v[solid]), v[solid], n[solid]
        del body_t
        head_t = skin_t[(v[skin_t][:, :, 1] > 6.1).all(1)]
        guides = self._grow(*self._roots(v, head_t, 2600, rng), rng)
        roots, _ = self._roots(v, head_t, count, rng)
        strands = self._children(guides, roots, rng)
        self._light(rig, strands, rng)
        # the scalp takes on some of the hair's colour
        y = v[:, 1]
        zl = np.interp(y, LINE_Y, LINE_Z)
        rig.scalp = f32(smoothstep(-0.03, 0.10, zl - v[:, 2]) * (y > 6.12) * (1 - smoothstep(0.72, 0.78, np.abs(v[:, 0])) * (y < 6.9)))
        self._brows(rig, n, rng)
        self._lashes(rig, rng)

    def _roots(self, v, tris, n, rng):
        p, nr = sample(v, tris, 3 * n, rng)
        ok = hairline(p, rng)
        return p[ok][:n], nr[ok][:n]

    def _grow(self, p, n, rng):
        """Guides [g, POINTS, 3]: combed away from the parting, then falling, kept off the head and the face."""
        side = np.where(p[:, 0] + 0.06 * rng.normal(size=len(p)) * (p[:, 1] < 7.6) > PART_X * smoothstep(6.9, 7.4, p[:, 1]), 1.0, -1.0)
        front = smoothstep(0.55, 1.15, p[:, 2])
        comb = np.stack([side * (1.0 - 0.25 * front), 0.10 + 0.32 * front, -0.25 - 0.55 * front], 1)
        comb = comb - (comb * n).sum(1, keepdims=True) * n
        d = unit(unit(comb) + 0.45 * n)
        h = 0.02 + 0.13 * rng.random(len(p)) ** 1.3
        length = POINTS * STEP
        stop = (0.93 + 0.07 * rng.random(len(p))) * length
        q, out = p + 0.004 * n, []
        drop = rng.normal(0, 0.05, (len(p), 3))
        for k in range(POINTS):
            out.append(q)
            t = k * STEP
            fall = smoothstep(0.05, 0.9, t)
            back = 0.45 * front * (1 - smoothstep(0.6, 1.3, t))
            want = np.stack([side * 0.55 * (1 - fall), np.full(len(p), -0.25 - 1.0 * fall), -back - 0.10 * (1 - fall)], 1) + drop
            d = unit(d + 0.22 * unit(want))
            q = q + STEP * d * (t < stop)[:, None]
            for _ in range(2):
                dist, i = self.tree.query(q, workers=-1)
                nn = self.sn[i]
                sd = ((q - self.sv[i]) * nn).sum(1)
                need = np.minimum(h * smoothstep(0.0, 0.35, t) + 0.012, 0.2)
                push = np.maximum(need - sd, 0) * (dist < 0.5)
                q = q + push[:, None] * nn
                inward = np.minimum((d * nn).sum(1), 0) * (push > 0)
                d = unit(d - 0.85 * inward[:, None] * nn)
            # the face stays free: a wall at each side that leans out downwards a little
            wall = np.interp(q[:, 1], [5.0, 5.6, 6.2, 6.8, 7.1, 7.3], [0.66, 0.70, 0.745, 0.735, 0.64, 0.0]) + 0.35 * h
            inside = (q[:, 2] > 0.35) & (q[:, 1] < 7.3) & (np.abs(q[:, 0]) < wall)
            sx = np.where(np.abs(q[:, 0]) < 0.3, side, np.sign(q[:, 0]))
            q[:, 0] = np.where(inside, q[:, 0] + 0.5 * (sx * wall - q[:, 0]), q[:, 0])
            # hair in front of the shoulders hangs close to the neck, not out on the arms
            far = np.abs(q[:, 0]) - (np.interp(q[:, 1], [5.2, 5.6, 6.2, 7.0], [0.80, 0.84, 0.95, 0.98]) + h)
            q[:, 0] -= np.sign(q[:, 0]) * np.maximum(far, 0) * 0.35
        return np.stack(out, 1), side, stop

    def _children(self, guides, roots, rng):
        g, side, stop = guides
        k = 3
        tree = cKDTree(g[:, 0] * [1.0, 1.0, 1.0])
        dist, i = tree.query(roots, 8)
        # neighbours on the other side of the parting do not count
        own = side[i[:, 0]]
        bad = side[i] != own[:, None]
        dist = dist + 10 * bad
        order = np.argsort(dist, 1)[:, :k]
        i, dist = np.take_along_axis(i, order, 1), np.take_along_axis(dist, order, 1)
        w = rng.random(i.shape) ** 2 / (dist + 0.01)
        w /= w.sum(1, keepdims=True)
        path = np.einsum("ck,ckpd->cpd", w, g[i] - g[i][:, :, :1])
        t = np.linspace(0, 1, POINTS)
        path = path + roots[:, None]
        # locks: strands draw towards a leader, more towards the tips
        lead = rng.integers(0, len(roots), 900)
        lt = cKDTree(roots[lead])
        ld, li = lt.query(roots, 4)
        lead_side = own[lead]
        pick = np.argmax(lead_side[li] == own[:, None], 1)
        li = lead[np.take_along_axis(li, pick[:, None], 1)[:, 0]]
        pull = (0.66 * smoothstep(0.12, 0.95, t))[None, :, None] * (0.5 + 0.5 * rng.random((len(roots), 1, 1)))
        lead_path = path[li]
        gap = np.linalg.norm(lead_path - path, axis=2, keepdims=True)
        path = path + pull * (lead_path - path) * np.clip(0.35 / (gap + 1e-6), 0, 1)
        # soft waves shared by a lock, fine unrest of each hair
        ph = rng.random(len(roots)) * 2 * np.pi
        ph = ph[li] + 0.16 * ph
        amp = (0.050 * smoothstep(0.25, 0.8, t))[None] * (0.6 + 0.8 * rng.random((len(roots), 1)))
        arc = np.arange(POINTS) * STEP
        wave = 2 * np.pi * arc[None] / (0.78 + 0.12 * np.sin(ph)[:, None]) + ph[:, None]
        out = np.sign(path[:, :, 0]) * amp * np.sin(wave)
        path[:, :, 0] += out
        path[:, :, 2] += amp * np.cos(wave)
        fine = rng.normal(0, 1, (len(roots), 7, 3))
        ti = t * 6
        lo = np.minimum(ti.astype(int), 5)
        fr = (ti - lo)[None, :, None]
        path = path + (0.0045 * smoothstep(0, 0.4, t))[None, :, None] * (fine[:, lo] * (1 - fr) + fine[:, lo + 1] * fr)
        # no hair over the face; ends cut at one height in front, a little longer behind
        face = ((path[:, :, 2] > 0.55) & (path[:, :, 1] < 7.0) & (np.abs(path[:, :, 0]) < 0.60)).any(1)
        path, self.lock = path[~face], np.arange(len(path))[~face]
        cut = 5.42 - 0.10 * smoothstep(0.4, -0.4, path[:, 0, 2]) + 0.05 * rng.normal(size=len(path)) + 0.03 * rng.normal(size=len(ph))[li[~face]]
        keep = np.maximum((path[:, :, 1] > cut[:, None]).cumprod(1).sum(1) - 1, 1)
        idx = np.minimum(np.arange(path.shape[1])[None], keep[:, None])
        path = np.take_along_axis(path, idx[:, :, None], 1)[:, ::2]
        self.lock = li[~face]
        self.lock_count = len(ph)
        return path

    def _light(self, rig, strands, rng):
        n, k, _ = strands.shape
        self.points = f32(strands.reshape(-1, 3))
        tan = np.gradient(strands, axis=1)
        self.tangent = f32(unit(tan).reshape(-1, 3))
        seg = np.arange(n * k).reshape(n, k)
        seg = np.stack([seg[:, :-1], seg[:, 1:]], 2).reshape(-1, 2)
        a, b = self.points[seg[:, 0]], self.points[seg[:, 1]]
        self.seg = i32(seg[((a - b) ** 2).sum(1) > 1e-8])
        # colours: chestnut, a little lighter towards the tips, locks differ, a few light hairs
        lockc = rng.normal(0, 1, self.lock_count)[self.lock]
        own = rng.normal(0, 1, n)
        t = np.linspace(0, 1, k)
        bright = np.exp(0.20 * lockc + 0.18 * own)[:, None] * (0.85 + 0.55 * smoothstep(0.3, 1.0, t))[None]
        base = np.array([0.036, 0.0165, 0.0085]) * bright[:, :, None]
        base[:, :, 2] *= (1 - 0.1 * lockc)[:, None].clip(0.7, 1.3)
        self.base = f32(base.reshape(-1, 3))
        self.shift = f32(np.repeat(0.05 * own + 0.03 * lockc, k))
        # volume of hair for shadows
        lo, hi = np.array([-1.6, 4.4, -1.6]), np.array([1.6, 8.6, 2.0])
        gs = np.array([53, 70, 60])
        ijk = ((self.points - lo) / (hi - lo) * gs).astype(int)
        ok = ((ijk >= 0) & (ijk < gs)).all(1)
        grid = np.bincount((ijk[ok, 2] * gs[1] + ijk[ok, 1]) * gs[0] + ijk[ok, 0], minlength=gs.prod()).astype(np.float32)
        grid /= np.percentile(grid[grid > 0], 60)
        grid = np.minimum(grid, 2.5)
        cx = [np.linspace(lo[i], hi[i], gs[i], endpoint=False) + (hi[i] - lo[i]) / gs[i] / 2 for i in range(3)]
        zz, yy, xx = np.meshgrid(cx[2], cx[1], cx[0], indexing="ij")
        c = np.stack([xx, yy, zz], -1).reshape(-1, 3)
        d, i = self.tree.query(c, workers=-1)
        sd = ((c - self.sv[i]) * self.sn[i]).sum(1)
        solid = grid + np.where((sd < -0.05) & (d < 0.9), 8.0, 0).astype(np.float32)
        dirs = f32(unit(np.array([l[0] for l in HAIR_LIGHTS])))
        self.dirs, self.colors = dirs, f32([l[1] for l in HAIR_LIGHTS])

        def march(pts, dd, g, start, k):
            out = np.zeros((len(dd), len(pts)), np.float32)
            rig.lib.march(ptr(pts), len(pts), ptr(dd), len(dd), ptr(g), ptr(i32(gs)), ptr(f32(lo)), ptr(f32(hi)), ctypes.c_float(start), ctypes.c_float(0.06), 22, ctypes.c_float(k), ptr(out))
            return out

        self.trans = march(self.points, dirs, f32(solid), 0.05, 6.0)
        amb = march(self.points, f32(unit(np.array(AMBIENT_DIRS))), f32(solid), 0.05, 5.0)
        self.amb = f32(amb.mean(0))
        rig.hair_vis = march(f32(self.rest), rig.ldir, f32(grid), 0.05, 5.0)

    def _bind(self, rig, roots):
        """Index of the nearest skin vertex of each root: the strand moves with it."""
        s = rig.slices["skin"]
        return cKDTree(self.rest[s]).query(roots)[1] + s.start

    def _brows(self, rig, n, rng):
        s = rig.slices["skin"]
        f = np.where((self.rest[s][:, 2] > 0.95) & (self.rest[s][:, 1] > 6.85) & (n[s][:, 2] > 0.2))[0]
        fv, fn = self.rest[s][f], n[s][f]
        tree = cKDTree(fv[:, :2])
        roots, tips, mid = [], [], []
        for sx in (1, -1):
            m = 330
            u = rng.random(m) ** 0.9
            cx, cy = np.interp(u, [0, 0.3, 0.62, 0.82, 1], [0.125, 0.235, 0.375, 0.45, 0.525]), np.interp(u, [0, 0.3, 0.62, 0.82, 1], [6.955, 6.998, 7.035, 7.022, 6.975])
            th = np.interp(u, [0, 0.12, 0.5, 1], [0.030, 0.036, 0.028, 0.007])
            x, y = cx, cy + th * rng.uniform(-1, 1, m)
            ang = np.interp(u, [0, 0.15, 0.45, 0.75, 1], [1.35, 0.95, 0.42, -0.12, -0.45]) + rng.normal(0, 0.13, m) - 0.25 * (y - cy) / 0.03 * (u > 0.1)
            ln = np.interp(u, [0, 0.2, 0.7, 1], [0.055, 0.080, 0.075, 0.045]) * (0.7 + 0.5 * rng.random(m))
            pts = []
            for k in (0.0, 0.5, 1.0):
                px, py = x + ln * k * np.cos(ang - 0.25 * k), y + ln * k * np.sin(ang - 0.25 * k)
                d, i = tree.query(np.stack([sx * px, py], 1), 4)
                w = 1 / (d + 0.004)
                w /= w.sum(1, keepdims=True)
                z = (fv[i][:, :, 2] * w).sum(1) + 0.004 + 0.012 * k
                pts.append(np.stack([sx * px, py, z], 1))
            roots.append(pts[0]), mid.append(pts[1]), tips.append(pts[2])
        p = np.stack([np.concatenate(roots), np.concatenate(mid), np.concatenate(tips)], 1)
        self.brow_bind = self._bind(rig, p[:, 0])
        self.brow_points = p
        self.brow_color = f32(np.repeat(np.array([0.105, 0.060, 0.038]) * np.exp(0.3 * rng.normal(size=(len(p), 1))), 3, 0))

    def _lashes(self, rig, rng):
        b, sl = rig.base, rig.slices["lash"]
        self.lash = []
        for e, side in enumerate("lr"):
            c, _ = rig.eyes[e]
            for row, count, ln in ((2, 95, 0.066), (1, 45, 0.028)):
                idx = np.unique(b.quads[f"helper-{side}-eyelashes-{row}"][:, :, 0])
                p = b.v[idx] - c
                r = np.linalg.norm(p, axis=1)
                ang = np.arctan2(p[:, 1], p[:, 0] * (1 if side == "l" else -1))
                # roots: innermost quarter, one per sector
                bins = np.linspace(ang.min(), ang.max(), 11)
                pick = []
                for a0, a1 in zip(bins[:-1], bins[1:]):
                    m = np.where((ang >= a0) & (ang <= a1))[0]
                    if len(m):
                        pick.append(m[np.argmin(r[m])])
                pick = np.array(sorted(set(pick), key=lambda i: ang[i]))
                # even along the lid
                run = np.r_[0, np.cumsum(np.linalg.norm(np.diff(p[pick], axis=0), axis=1))]
                u = np.interp((np.arange(count) + 0.7 * rng.random(count)) / count, run / run[-1], np.linspace(0, 1, len(run)))
                self.lash.append(dict(eye=e, verts=sl.start + np.searchsorted(rig.lash_index, idx[pick]), u=u, row=row, len=ln * (0.75 + 0.4 * rng.random(count)),
                                      fan=rng.normal(0, 0.10, (count, 3))))

    def pose(self, rig, V, pose, rot, pivot, shift):
        """Points, segments, colours of all strands for one picture."""
        P = f32((self.points - pivot) @ rot.T + pivot + shift)
        Tg = f32(self.tangent @ rot.T)
        from rig import CAMERA
        out = np.zeros_like(P)
        rig.lib.hair_light(ptr(P), ptr(Tg), ptr(self.base), len(P), ptr(self.trans), ptr(self.dirs), ptr(self.colors), len(self.dirs), ptr(f32([0.95, 0.98, 1.05])),
                           ptr(self.amb), ptr(f32(CAMERA)), ctypes.c_float(0.42), ptr(self.shift), ptr(out))
        pts, segs, cols, off = [P], [self.seg], [out], len(P)
        # brows ride on the skin
        mv = V[self.brow_bind] - self.rest[self.brow_bind]
        q = self.brow_points + mv[:, None]
        m = len(q)
        i = np.arange(3 * m).reshape(m, 3)
        pts.append(q.reshape(-1, 3)), cols.append(self.brow_color)
        segs.append(off + np.stack([i[:, :-1], i[:, 1:]], 2).reshape(-1, 2))
        off += 3 * m
        for l in self.lash:
            curve = V[l["verts"]]
            c = rot @ (rig.eyes[l["eye"]][0] - pivot) + pivot + shift
            x = l["u"] * (len(curve) - 1)
            i0 = np.minimum(x.astype(int), len(curve) - 2)
            fr = (x - i0)[:, None]
            r = curve[i0] * (1 - fr) + curve[i0 + 1] * fr
            o = unit(r - c)
            o[:, 0] *= 1.25
            o = unit(o + l["fan"])
            up = np.array([0, 1.0 if l["row"] == 2 else -1.0, 0])
            shut = pose.get("blink", 0)
            k = [0, 0.34, 0.68, 1.0]
            lift = (0.85 - 1.0 * shut) if l["row"] == 2 else 0.45
            q = np.stack([r + l["len"][:, None] * (t * o + t * t * lift * up + np.array([0, 0, 0.25 * t])) * 0.8 for t in k], 1)
            m = len(q)
            i = np.arange(4 * m).reshape(m, 4)
            pts.append(q.reshape(-1, 3)), cols.append(np.full((4 * m, 3), 0.03 if l["row"] == 2 else 0.10))
            segs.append(off + np.stack([i[:, :-1], i[:, 1:]], 2).reshape(-1, 2))
            off += 4 * m
        return np.concatenate(pts), np.concatenate(segs), np.concatenate(cols)
