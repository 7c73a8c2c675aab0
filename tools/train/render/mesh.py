"""The CC0 head: reading the MakeHuman base mesh, its targets and fitted clothes, and smooth subdivision.

Units are the mesh's (1 = 10 cm), y up, the face towards +z.
"""
import gzip
import os

import numpy as np
import scipy.sparse as sp


class Base:
    """Vertices, quads by group (vertex and UV indices) and UVs of `base.obj`, with a shaped person."""

    def __init__(self, root, shape):
        self.root = root
        verts, uvs, self.quads, group = [], [], {}, None
        with open(os.path.join(root, "base.obj")) as f:
            for line in f:
                w = line.split()
                if not w:
                    continue
                if w[0] == "v":
                    verts.append([float(x) for x in w[1:4]])
                elif w[0] == "vt":
                    uvs.append([float(x) for x in w[1:3]])
                elif w[0] == "g":
                    group = w[1]
                elif w[0] == "f":
                    self.quads.setdefault(group, []).append([[int(i) - 1 for i in c.split("/")[:2]] for c in w[1:]])
        self.quads = {k: np.array(q) for k, q in self.quads.items()}
        self.v = np.array(verts, np.float64)
        self.uv = np.array(uvs, np.float64)
        for name, weight in shape.items():
            self.v = self.v + weight * self.target(name)

    def target(self, name):
        """Offsets [vertices,3] of one target file."""
        out = np.zeros_like(self.v)
        with gzip.open(os.path.join(self.root, "targets", name + ".target.gz"), "rt") as f:
            for line in f:
                if line.strip() and not line.startswith("#"):
                    i, x, y, z = line.split()
                    out[int(i)] = float(x), float(y), float(z)
        return out

    def fitted(self, name):
        """A fitted piece (clothes): matrix [n, vertices], offsets [n,3], quads [m,4] of vertex indices."""
        folder = os.path.join(self.root, os.path.dirname(name))
        rows, scale, reading = [], [1, 1, 1], False
        with open(os.path.join(self.root, name + ".mhclo")) as f:
            for line in f:
                w = line.split()
                if not w or line.startswith("#"):
                    reading = reading and bool(w)
                    continue
                if w[0] in ("x_scale", "y_scale", "z_scale"):
                    axis = "xyz".index(w[0][0])
                    scale[axis] = abs(self.v[int(w[1])][axis] - self.v[int(w[2])][axis]) / float(w[3])
                elif w[0] == "obj_file":
                    obj = os.path.join(folder, w[1])
                elif w[0] == "verts":
                    reading = True
                elif reading and w[0].isdigit():
                    rows.append(w)
                elif reading and w[0] != "material":
                    reading = False
        n = len(rows)
        m, off = sp.lil_matrix((n, len(self.v))), np.zeros((n, 3))
        for i, w in enumerate(rows):
            if len(w) == 1:
                m[i, int(w[0])] = 1
            else:
                for k in range(3):
                    m[i, int(w[k])] += float(w[3 + k])
                off[i] = [float(w[6 + k]) * scale[k] for k in range(3)]
        quads = []
        with open(obj) as f:
            for line in f:
                if line.startswith("f "):
                    q = [int(c.split("/")[0]) - 1 for c in line.split()[1:]]
                    quads.append(q if len(q) == 4 else q + [q[-1]])
        return m.tocsr(), off, np.array(quads)


def subdivide(quads, nv):
    """One Catmull-Clark step: matrix [n2,nv] from old to new vertices, quads [4m,4], and for UVs the corner mix.

    The new corners of quad q are (corner, edge to the next, face, edge from the last); the returned array
    [4m,4,4] gives each new corner as weights of the old quad's four corners (UVs are interpolated linearly).
    """
    m = len(quads)
    a, b = quads, np.roll(quads, -1, 1)
    edges = np.sort(np.stack([a, b], 2).reshape(-1, 2), 1)
    uniq, inverse, count = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(m, 4)
    ne = len(uniq)
    face = sp.csr_matrix((np.full(4 * m, 0.25), (np.repeat(np.arange(m), 4), quads.ravel())), (m, nv))
    mid = sp.csr_matrix((np.full(2 * ne, 0.5), (np.repeat(np.arange(ne), 2), uniq.ravel())), (ne, nv))
    edge_face = sp.csr_matrix((np.full(4 * m, 0.5), (inverse.ravel(), np.repeat(np.arange(m), 4))), (ne, m))
    inner = sp.diags((count == 2).astype(float))
    border = sp.diags((count != 2).astype(float))
    edge = inner @ (0.5 * mid + 0.5 * (edge_face @ face)) + border @ mid
    # old vertices: (F + 2R + (n-3)P)/n inside; 1/8, 6/8, 1/8 on a border
    nf = np.maximum(np.bincount(quads.ravel(), minlength=nv), 1)
    vf = sp.csr_matrix((np.ones(4 * m), (quads.ravel(), np.repeat(np.arange(m), 4))), (nv, m))
    ve = sp.csr_matrix((np.ones(2 * ne), (uniq.ravel(), np.repeat(np.arange(ne), 2))), (nv, ne))
    on_border = np.zeros(nv, bool)
    on_border[uniq[count != 2].ravel()] = True
    nedge = np.maximum(np.asarray(ve.sum(1)).ravel(), 1)
    smooth = sp.diags(1.0 / nf**2) @ (vf @ face) + sp.diags(2.0 / (nf * nedge)) @ (ve @ mid) + sp.diags((nf - 3.0) / nf)
    bmid = ve @ border @ mid
    bn = np.maximum(np.asarray((ve @ border).sum(1)).ravel(), 1)
    along = 0.5 * sp.identity(nv) + sp.diags(0.5 / bn) @ bmid
    old = sp.diags((~on_border).astype(float)) @ smooth + sp.diags(on_border.astype(float)) @ along
    s = sp.vstack([old, edge, face]).tocsr()
    e = inverse + nv
    f = np.arange(m) + nv + ne
    new = np.stack([np.stack([quads[:, k], e[:, k], f, e[:, k - 1]], 1) for k in range(4)], 1).reshape(-1, 4)
    mix = np.zeros((4, 4, 4))
    for k in range(4):
        mix[k, 0, k] = 1
        mix[k, 1, k] = mix[k, 1, (k + 1) % 4] = 0.5
        mix[k, 2] = 0.25
        mix[k, 3, k] = mix[k, 3, k - 1] = 0.5
    return s, new, np.tile(mix, (m, 1, 1))


def compact(quads):
    """Renumbers a subset of quads: (indices used, quads over them)."""
    used, inverse = np.unique(quads, return_inverse=True)
    return used, inverse.reshape(quads.shape)


def triangles(quads):
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)


def normals(v, tris):
    n = np.cross(v[tris[:, 1]] - v[tris[:, 0]], v[tris[:, 2]] - v[tris[:, 0]])
    out = np.stack([np.bincount(tris.ravel(), np.repeat(n[:, k], 3), len(v)) for k in range(3)], 1)
    return out / (np.linalg.norm(out, axis=1, keepdims=True) + 1e-12)
