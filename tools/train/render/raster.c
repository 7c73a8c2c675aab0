// A small software renderer for the default face: depth-buffered triangles and hair strands, area lights as
// sets of shadow-mapped directions gathered per vertex, and per-sample shading of skin, eyes, teeth, tongue
// and cloth. Everything is deterministic and single-threaded; frames are rendered by parallel processes.
// All arrays are C-contiguous float32/int32. Screen coordinates are in samples (pixels x supersampling),
// y down, z = distance from the camera.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CLAMP(x, a, b) ((x) < (a) ? (a) : (x) > (b) ? (b) : (x))
static inline float sq(float x) { return x * x; }
static inline float smooth(float a, float b, float x) {
    float t = CLAMP((x - a) / (b - a), 0.f, 1.f);
    return t * t * (3 - 2 * t);
}

// ---- visibility -------------------------------------------------------------------------------------------

void raster(const float *P, const int *T, int nt, int first_id, int W, int H, float *zb, int *ib) {
    for (int t = 0; t < nt; t++) {
        const float *a = P + 3 * T[3 * t], *b = P + 3 * T[3 * t + 1], *c = P + 3 * T[3 * t + 2];
        float minx = fminf(a[0], fminf(b[0], c[0])), maxx = fmaxf(a[0], fmaxf(b[0], c[0]));
        float miny = fminf(a[1], fminf(b[1], c[1])), maxy = fmaxf(a[1], fmaxf(b[1], c[1]));
        if (!(maxx > 0 && maxy > 0 && minx < W && miny < H)) continue;
        int x0 = (int)ceilf(fmaxf(minx - 0.5f, 0)), x1 = (int)floorf(fminf(maxx - 0.5f, W - 1));
        int y0 = (int)ceilf(fmaxf(miny - 0.5f, 0)), y1 = (int)floorf(fminf(maxy - 0.5f, H - 1));
        float area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
        if (fabsf(area) < 1e-9f) continue;
        float ia = 1 / area;
        float wbx = (c[1] - a[1]) * ia, wby = -(c[0] - a[0]) * ia;
        float wcx = -(b[1] - a[1]) * ia, wcy = (b[0] - a[0]) * ia;
        for (int y = y0; y <= y1; y++) {
            float dy = y + 0.5f - a[1];
            for (int x = x0; x <= x1; x++) {
                float dx = x + 0.5f - a[0];
                float wb = dx * wbx + dy * wby, wc = dx * wcx + dy * wcy, wa = 1 - wb - wc;
                if (wa < 0 || wb < 0 || wc < 0) continue;
                float z = a[2] + wb * (b[2] - a[2]) + wc * (c[2] - a[2]);
                float *q = zb + (size_t)y * W + x;
                if (z < *q) {
                    *q = z;
                    if (ib) ib[(size_t)y * W + x] = first_id + t;
                }
            }
        }
    }
}

// Strands: `n` segments from point 2k to 2k+1, one sample wide (or `width` samples).
void raster_lines(const float *P, const int *S, int n, int first_id, float width, int W, int H, float *zb, int *ib) {
    for (int s = 0; s < n; s++) {
        const float *a = P + 3 * S[2 * s], *b = P + 3 * S[2 * s + 1];
        if (fmaxf(a[0], b[0]) < -2 || fmaxf(a[1], b[1]) < -2 || fminf(a[0], b[0]) > W + 2 || fminf(a[1], b[1]) > H + 2) continue;
        float dx = b[0] - a[0], dy = b[1] - a[1];
        float len = fmaxf(fabsf(dx), fabsf(dy));
        int steps = (int)ceilf(len) + 1;
        if (steps > 4096) continue;
        int horizontal = fabsf(dx) > fabsf(dy);
        float w = width;
        int half = (int)ceilf(w);
        for (int i = 0; i < steps; i++) {
            float t = steps > 1 ? (float)i / (steps - 1) : 0;
            float x = a[0] + t * dx, y = a[1] + t * dy, z = a[2] + t * (b[2] - a[2]);
            for (int k = 0; k < half; k++) {
                float o = k - (w - 1) * 0.5f;
                int px = (int)floorf(x + (horizontal ? 0 : o)), py = (int)floorf(y + (horizontal ? o : 0));
                if (px < 0 || py < 0 || px >= W || py >= H) continue;
                size_t q = (size_t)py * W + px;
                if (z < zb[q]) {
                    zb[q] = z;
                    ib[q] = first_id + s;
                }
            }
        }
    }
}

// ---- light ------------------------------------------------------------------------------------------------

// Area lights as `nd` directions: each is a shadow map over the box center +- extent; its light is added, with
// wrap-around w per colour, to the irradiance E [nv,3] and its visibility to G [nv,4] (the light's group).
// `zstart` [nd][size][size], where given, holds depth that other triangles left; `zsave` takes what this call leaves.
// Only the vertices idx [nidx] are lit where idx is given (it holds all that T names, or nothing); the others keep E and G.
void gather(const float *V, const float *N, int nv, const int *T, int nt, const float *center, float extent, int size,
            const float *dirs, const float *colors, const int *groups, int nd, const float *hair, float bias, const float *wrap,
            const float *zstart, float *zsave, const int *idx, int nidx, float *E, float *G) {
    float *zb = malloc(sizeof(float) * size * size), *Q = malloc(sizeof(float) * 3 * nv);
    float gw[4] = {0, 0, 0, 0};
    int ni = idx ? nidx : nv;
    for (int k = 0; k < ni; k++) {
        int v = idx ? idx[k] : k;
        memset(E + 3 * v, 0, sizeof(float) * 3);
        memset(G + 4 * v, 0, sizeof(float) * 4);
    }
    for (int d = 0; d < nd; d++) {
        const float *l = dirs + 3 * d, *col = colors + 3 * d;
        float up[3] = {0, 1, 0};
        if (fabsf(l[1]) > 0.9f) up[1] = 0, up[2] = 1;
        float r[3] = {up[1] * l[2] - up[2] * l[1], up[2] * l[0] - up[0] * l[2], up[0] * l[1] - up[1] * l[0]};
        float rl = 1 / sqrtf(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
        for (int i = 0; i < 3; i++) r[i] *= rl;
        float u[3] = {l[1] * r[2] - l[2] * r[1], l[2] * r[0] - l[0] * r[2], l[0] * r[1] - l[1] * r[0]};
        float scale = size / (2 * extent);
        for (int j = 0; j < (idx && nidx ? nidx : nv); j++) {
            int v = idx && nidx ? idx[j] : j;
            float p[3] = {V[3 * v] - center[0], V[3 * v + 1] - center[1], V[3 * v + 2] - center[2]};
            Q[3 * v] = (p[0] * r[0] + p[1] * r[1] + p[2] * r[2] + extent) * scale;
            Q[3 * v + 1] = (p[0] * u[0] + p[1] * u[1] + p[2] * u[2] + extent) * scale;
            Q[3 * v + 2] = -(p[0] * l[0] + p[1] * l[1] + p[2] * l[2]);
        }
        if (zstart) memcpy(zb, zstart + (size_t)d * size * size, sizeof(float) * size * size);
        else
            for (int i = 0; i < size * size; i++) zb[i] = 1e9f;
        raster(Q, T, nt, 0, size, size, zb, 0);
        if (zsave) memcpy(zsave + (size_t)d * size * size, zb, sizeof(float) * size * size);
        gw[groups[d]] += 1;
        for (int k = 0; k < ni; k++) {
            int v = idx ? idx[k] : k;
            const float *n = N + 3 * v;
            float ndl = n[0] * l[0] + n[1] * l[1] + n[2] * l[2];
            float vis = 1;
            float x = Q[3 * v] - 0.5f, y = Q[3 * v + 1] - 0.5f;
            int xi = (int)floorf(x), yi = (int)floorf(y);
            if (ndl > -0.45f && xi >= 0 && yi >= 0 && xi < size - 1 && yi < size - 1) {
                float fx = x - xi, fy = y - yi, b = bias * (1 + 1.5f * (1 - fabsf(ndl))), acc = 0;
                for (int j = 0; j < 2; j++)
                    for (int i = 0; i < 2; i++) {
                        float z = zb[(yi + j) * size + xi + i];
                        float s = CLAMP((z + b - Q[3 * v + 2]) / (0.6f * b) + 0.5f, 0.f, 1.f);
                        acc += s * (i ? fx : 1 - fx) * (j ? fy : 1 - fy);
                    }
                vis = acc;
            }
            if (hair) vis *= hair[(size_t)d * nv + v];
            G[4 * v + groups[d]] += vis;
            for (int c = 0; c < 3; c++) {
                float w = wrap[c], lam = (ndl + w) / ((1 + w) * (1 + w));
                if (lam > 0) E[3 * v + c] += col[c] * lam * vis;
            }
        }
    }
    for (int k = 0; k < ni; k++)
        for (int g = 0; g < 4; g++) G[4 * (idx ? idx[k] : k) + g] /= gw[g] > 0 ? gw[g] : 1;
    free(zb);
    free(Q);
}

// Light through a volume of hair: `grid` [gz][gy][gx] of density over the box lo..hi; T [nd][nv] transmittance.
void march(const float *V, int nv, const float *dirs, int nd, const float *grid, const int *gs, const float *lo, const float *hi,
           float start, float step, int steps, float k, float *out) {
    float sc[3];
    for (int i = 0; i < 3; i++) sc[i] = gs[i] / (hi[i] - lo[i]);
    for (int d = 0; d < nd; d++)
        for (int v = 0; v < nv; v++) {
            float sum = 0;
            for (int s = 0; s < steps; s++) {
                float t = start + (s + 0.5f) * step;
                float g[3];
                int gi[3], ok = 1;
                for (int i = 0; i < 3; i++) {
                    g[i] = (V[3 * v + i] + t * dirs[3 * d + i] - lo[i]) * sc[i] - 0.5f;
                    gi[i] = (int)floorf(g[i]);
                    if (gi[i] < 0 || gi[i] >= gs[i] - 1) ok = 0;
                }
                if (!ok) continue;
                float fx = g[0] - gi[0], fy = g[1] - gi[1], fz = g[2] - gi[2];
                const float *q = grid + ((size_t)gi[2] * gs[1] + gi[1]) * gs[0] + gi[0];
                size_t sy = gs[0], szz = (size_t)gs[0] * gs[1];
                float c00 = q[0] + fx * (q[1] - q[0]), c10 = q[sy] + fx * (q[sy + 1] - q[sy]);
                float c01 = q[szz] + fx * (q[szz + 1] - q[szz]), c11 = q[szz + sy] + fx * (q[szz + sy + 1] - q[szz + sy]);
                float c0 = c00 + fy * (c10 - c00), c1 = c01 + fy * (c11 - c01);
                sum += c0 + fz * (c1 - c0);
            }
            out[(size_t)d * nv + v] = expf(-k * sum * step);
        }
}

// ---- noise ------------------------------------------------------------------------------------------------

static inline float hash3(int x, int y, int z) {
    uint32_t h = (uint32_t)x * 73856093u ^ (uint32_t)y * 19349663u ^ (uint32_t)z * 83492791u;
    h ^= h >> 13;
    h *= 0x5bd1e995u;
    h ^= h >> 15;
    h *= 0x27d4eb2du;
    h ^= h >> 14;
    return (h & 0xffffff) * (2.f / 0xffffff) - 1;
}
// Value noise in -1..1 with its gradient.
static float noise(float x, float y, float z, float *g) {
    float fx = floorf(x), fy = floorf(y), fz = floorf(z);
    int X = (int)fx, Y = (int)fy, Z = (int)fz;
    x -= fx, y -= fy, z -= fz;
    float u = x * x * (3 - 2 * x), v = y * y * (3 - 2 * y), w = z * z * (3 - 2 * z);
    float a = hash3(X, Y, Z), b = hash3(X + 1, Y, Z), c = hash3(X, Y + 1, Z), d = hash3(X + 1, Y + 1, Z);
    float e = hash3(X, Y, Z + 1), f = hash3(X + 1, Y, Z + 1), h = hash3(X, Y + 1, Z + 1), i = hash3(X + 1, Y + 1, Z + 1);
    float k1 = b - a, k2 = c - a, k3 = e - a, k4 = a - b - c + d, k5 = a - c - e + h, k6 = a - b - e + f, k7 = -a + b + c - d + e - f - h + i;
    if (g) {
        g[0] = 6 * x * (1 - x) * (k1 + k4 * v + k6 * w + k7 * v * w);
        g[1] = 6 * y * (1 - y) * (k2 + k4 * u + k5 * w + k7 * u * w);
        g[2] = 6 * z * (1 - z) * (k3 + k5 * v + k6 * u + k7 * u * v);
    }
    return a + k1 * u + k2 * v + k3 * w + k4 * u * v + k5 * v * w + k6 * w * u + k7 * u * v * w;
}

// ---- shading ----------------------------------------------------------------------------------------------

static inline void norm3(float *v) {
    float l = 1 / sqrtf(v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + 1e-20f);
    v[0] *= l, v[1] *= l, v[2] *= l;
}
static inline float dot3(const float *a, const float *b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
// GGX specular of one direction: roughness a, f0, normal, view, light.
static float ggx(const float *n, const float *v, const float *l, float a, float f0) {
    float ndl = dot3(n, l), ndv = fmaxf(dot3(n, v), 0.05f);
    if (ndl <= 0) return 0;
    float h[3] = {v[0] + l[0], v[1] + l[1], v[2] + l[2]};
    norm3(h);
    float ndh = dot3(n, h), vdh = dot3(v, h), a2 = a * a;
    float d = a2 / (3.14159f * sq(ndh * ndh * (a2 - 1) + 1));
    float k = a * 0.5f, g = 1 / ((ndl * (1 - k) + k) * (ndv * (1 - k) + k));
    float m = 1 - vdh, f = f0 + (1 - f0) * m * m * m * m * m;
    return d * f * g * 0.25f * ndl;
}

typedef struct {
    const float *P, *V, *N, *R, *E, *G, *UV; // per vertex: screen, world, normal, rest position, irradiance, visibility; UV per corner
    const int *T, *M;                        // triangles, material of each
    int nt;
    const uint8_t *mask;                     // [ms][ms][4]: lips, inside of the mouth, eyelids, brows
    int ms;
    const float *cam;                        // camera position
    const float *sdir, *scol;                // specular lights [ns], group of each
    const int *sgrp;
    int ns;
    const float *eyes;                       // two eyes x 10: centre 3, radius, gaze 3, pad
    const float *skin;                       // parameters, see the caller
} Scene;

static void tex4(const Scene *s, float u, float v, float *o) {
    float x = u * s->ms - 0.5f, y = (1 - v) * s->ms - 0.5f;
    int xi = (int)floorf(x), yi = (int)floorf(y);
    float fx = x - xi, fy = y - yi;
    xi = CLAMP(xi, 0, s->ms - 2), yi = CLAMP(yi, 0, s->ms - 2);
    const uint8_t *q = s->mask + ((size_t)yi * s->ms + xi) * 4;
    for (int c = 0; c < 4; c++) {
        float a = q[c] + fx * (q[c + 4] - q[c]), b = q[c + s->ms * 4] + fx * (q[c + 4 + s->ms * 4] - q[c + s->ms * 4]);
        o[c] = (a + fy * (b - a)) * (1 / 255.f);
    }
}

static float blob(const float *p, float x, float y, float z, float rx, float ry) {
    return expf(-sq((fabsf(p[0]) - x) / rx) - sq((p[1] - y) / ry) - sq((p[2] - z) / 0.6f));
}

// bump: subtracts the tangential part of a gradient from the normal
static inline void bump(float *n, const float *g, float k) {
    float d = dot3(n, g);
    for (int i = 0; i < 3; i++) n[i] -= k * (g[i] - d * n[i]);
    norm3(n);
}

static void shade_skin(const Scene *s, const float *r, const float *uv, float *n, const float *v, const float *E, const float *G, float *o) {
    const float *K = s->skin;
    float m[4], g1[3], g2[3], g3[3];
    tex4(s, uv[0], uv[1], m);
    float lips = smooth(0.15f, 0.85f, m[0]), inside = m[1], lid = m[2];
    lips *= 1 - inside;
    float f1 = noise(r[0] * 2.1f + 7, r[1] * 2.1f, r[2] * 2.1f, 0), f2 = noise(r[0] * 6.3f, r[1] * 6.3f + 3, r[2] * 6.3f, 0);
    float f3 = noise(r[0] * 23, r[1] * 23, r[2] * 23 + 5, g1), f4 = noise(r[0] * 67 + 9, r[1] * 67, r[2] * 67, g2);
    float mott = 0.45f * f1 + 0.35f * f2 + 0.3f * f3 + 0.22f * f4;
    float A[3] = {K[0], K[1], K[2]};
    // redness where blood is near: cheeks, nose, chin, ears; a paler brow
    float red = 0.85f * blob(r, 0.36f, 6.50f, 1.15f, 0.22f, 0.17f) + 0.75f * blob(r, 0.f, 6.52f, 1.55f, 0.14f, 0.13f) +
                0.35f * blob(r, 0.f, 5.95f, 1.3f, 0.17f, 0.10f) + 0.5f * smooth(0.68f, 0.78f, fabsf(r[0])) * smooth(6.3f, 6.4f, r[1]) * smooth(7.2f, 7.0f, r[1]);
    red = red * (1 + 0.35f * f2) + 0.16f * mott;
    A[0] *= 1 + 0.05f * red + 0.035f * mott;
    A[1] *= 1 - 0.22f * red + 0.055f * mott;
    A[2] *= 1 - 0.20f * red + 0.055f * mott;
    // thin skin below the eyes, shadowed lids
    float under = blob(r, 0.29f, 6.66f, 1.2f, 0.17f, 0.07f);
    A[0] *= 1 - 0.10f * under, A[1] *= 1 - 0.13f * under, A[2] *= 1 - 0.06f * under;
    A[0] *= 1 - 0.22f * lid, A[1] *= 1 - 0.34f * lid, A[2] *= 1 - 0.34f * lid;
    // freckles, faint
    float fr = 0.35f * smooth(0.62f, 0.85f, noise(r[0] * 31, r[1] * 31 + 17, r[2] * 31, 0)) * (blob(r, 0.2f, 6.58f, 1.3f, 0.34f, 0.2f) + 0.15f);
    A[0] *= 1 - 0.16f * fr, A[1] *= 1 - 0.25f * fr, A[2] *= 1 - 0.30f * fr;
    // brows: skin a little darker where the hairs stand
    A[0] *= 1 - 0.45f * m[3], A[1] *= 1 - 0.52f * m[3], A[2] *= 1 - 0.55f * m[3];
    // lips: their own colour, darker towards the line where they meet
    float L[3] = {K[3], K[4], K[5]};
    float lm = 1 + 0.10f * f2 + 0.09f * f3 + 0.06f * f4;
    for (int i = 0; i < 3; i++) {
        A[i] += lips * (L[i] * lm - A[i]);
        A[i] += inside * ((i == 0 ? 0.30f : i == 1 ? 0.075f : 0.065f) - A[i]);
    }
    // surface: pores on skin, fine creases on the lips
    noise(r[0] * 95, r[1] * 14, r[2] * 30, g3);
    float gp[3];
    for (int i = 0; i < 3; i++) gp[i] = (g1[i] * 0.35f + g2[i] * 0.65f) * (1 - lips) * (1 - inside) * 0.055f;
    gp[0] += g3[0] * lips * 0.11f, gp[1] += g3[1] * lips * 0.02f;
    float ns[3] = {n[0], n[1], n[2]};
    bump(ns, gp, 1);
    // the bump changes the diffuse light a little: as if a broad light came from above and the left
    float k0[3] = {K[6], K[7], K[8]};
    float dd = 1 + 0.9f * (dot3(ns, k0) - dot3(n, k0)) * G[0];
    for (int i = 0; i < 3; i++) o[i] = A[i] * E[i] * dd;
    float wet = lips > inside ? lips : inside;
    float occ = G[2] * (1 - 0.5f * inside);
    float gloss = (1 + 0.25f * f3);
    float zone = 0.75f + 0.5f * blob(r, 0, 6.6f, 1.5f, 0.2f, 0.4f) + 0.25f * blob(r, 0, 7.3f, 1.2f, 0.4f, 0.25f);
    for (int l = 0; l < s->ns; l++) {
        float vis = G[s->sgrp[l]];
        float a1 = ggx(ns, v, s->sdir + 3 * l, 0.36f, 0.028f) * 0.85f + ggx(ns, v, s->sdir + 3 * l, 0.20f, 0.028f) * 0.22f;
        float sp = a1 * gloss * zone * (1 - wet);
        if (wet > 0.01f) sp += wet * (0.75f * ggx(ns, v, s->sdir + 3 * l, 0.23f, 0.035f) + 0.20f * ggx(ns, v, s->sdir + 3 * l, 0.11f, 0.035f)) * (1 - 0.6f * inside);
        for (int i = 0; i < 3; i++) o[i] += s->scol[3 * l + i] * sp * vis;
    }
    // soft sheen of the fine hairs at grazing angles
    float fz = 1 - fmaxf(dot3(n, v), 0);
    float sheen = 0.07f * fz * fz * fz * occ;
    for (int i = 0; i < 3; i++) o[i] += sheen * E[i] * (1 - wet);
}

static void shade_eye(const Scene *s, const float *p, const float *v, const float *E, const float *G, float *o) {
    const float *e = p[0] > s->skin[9] ? s->eyes : s->eyes + 10;
    float d[3] = {p[0] - e[0], p[1] - e[1], p[2] - e[2]};
    norm3(d);
    const float *gz = e + 4;
    float c = dot3(d, gz), ang = acosf(CLAMP(c, -1.f, 1.f));
    float q[3] = {d[0] - c * gz[0], d[1] - c * gz[1], d[2] - c * gz[2]};
    float phi = atan2f(q[1], q[0]);
    const float IR = 0.455f, PU = 0.160f; // half angles of the iris and the pupil on this eyeball
    float A[3] = {0.66f, 0.60f, 0.57f};   // sclera
    float vein = noise(d[0] * 30, d[1] * 60, d[2] * 9, 0);
    float edge = smooth(IR, 1.15f, ang);
    A[1] *= 1 - 0.16f * edge - 0.07f * fmaxf(vein, 0) * edge, A[2] *= 1 - 0.20f * edge - 0.08f * fmaxf(vein, 0) * edge;
    float t = ang / IR;
    float iris = 1 - smooth(0.93f, 1.06f, t);
    if (iris > 0) {
        // fibres: noise on a circle, so that it closes
        float rr = t * 2.2f, cx = cosf(phi) * 9, cy = sinf(phi) * 9;
        float fib = noise(cx * 2.2f, cy * 2.2f, rr, 0) * 0.6f + noise(cx * 4.6f, cy * 4.6f, rr * 2 + 4, 0) * 0.4f;
        float collar = expf(-sq((t - 0.50f) / 0.13f));
        float bright = (0.72f + 0.55f * fib) * (0.75f + 0.55f * smooth(0.35f, 0.85f, t));
        float I[3] = {0.098f * bright + 0.075f * collar, 0.070f * bright + 0.034f * collar, 0.046f * bright + 0.008f * collar};
        I[0] *= s->skin[10], I[1] *= s->skin[11], I[2] *= s->skin[12];
        // caustic: light that crosses the cornea brightens the far side of the iris
        float caus = 1 + 0.9f * fmaxf(-(q[0] * s->skin[6] + q[1] * s->skin[7]) / IR, -0.5f);
        float limb = smooth(0.72f, 0.99f, t), pup = 1 - smooth(PU / IR - 0.03f, PU / IR + 0.03f, t);
        for (int i = 0; i < 3; i++) {
            float x = I[i] * caus * (1 - 0.82f * limb) * (1 - 0.97f * pup);
            A[i] += iris * (x - A[i]);
        }
    }
    // the lid shades the upper part; wet surface with sharp lights on the bulging cornea
    float nb[3] = {d[0], d[1], d[2]};
    float bul = smooth(IR * 1.15f, IR * 0.6f, ang) * 0.32f;
    for (int i = 0; i < 3; i++) nb[i] -= bul * gz[i] * 0.55f, nb[i] += bul * q[i] * 0.9f;
    norm3(nb);
    float shade = 1 - 0.55f * smooth(0.16f, 0.44f, d[1] - 0.25f * d[0] * d[0]) - 0.25f * smooth(0.45f, 0.85f, fabsf(d[0] - gz[0]));
    for (int i = 0; i < 3; i++) o[i] = A[i] * E[i] * shade;
    // the window itself, mirrored in the cornea: two panes
    float nv2 = 2 * dot3(nb, v), rf[3] = {nv2 * nb[0] - v[0], nv2 * nb[1] - v[1], nv2 * nb[2] - v[2]};
    const float *kd = s->skin + 6;
    float wx = (rf[0] - kd[0]) + 0.35f * (rf[2] - kd[2]), wy = rf[1] - kd[1];
    float pane = smooth(0.21f, 0.17f, fabsf(wx)) * smooth(0.27f, 0.23f, fabsf(wy)) * (1 - 0.8f * smooth(0.03f, 0.015f, fabsf(wx))) * (dot3(rf, kd) > 0);
    for (int i = 0; i < 3; i++) o[i] += pane * (i == 2 ? 1.15f : 1.05f) * 1.1f;
    for (int l = 0; l < s->ns; l++) {
        float vis = G[s->sgrp[l]];
        float sp = ggx(nb, v, s->sdir + 3 * l, 0.045f, 0.022f) * 0.16f + ggx(nb, v, s->sdir + 3 * l, 0.14f, 0.022f) * 0.3f;
        for (int i = 0; i < 3; i++) o[i] += s->scol[3 * l + i] * fminf(sp, 6.f) * smooth(0.1f, 0.5f, vis);
    }
}

static void shade_simple(const Scene *s, const float *r, float *n, const float *v, const float *E, const float *G, const float *A,
                         float rough, float spec, float *o) {
    for (int i = 0; i < 3; i++) o[i] = A[i] * E[i];
    for (int l = 0; l < s->ns; l++) {
        float sp = spec * ggx(n, v, s->sdir + 3 * l, rough, 0.04f) * G[s->sgrp[l]];
        for (int i = 0; i < 3; i++) o[i] += s->scol[3 * l + i] * sp;
    }
    (void)r;
}

// A row of teeth on one smooth strip: uv = arc length from the middle (+10 for the lower row) and height from the edge.
static void shade_tooth(const Scene *s, const float *r, const float *uv, float *n, const float *v, const float *E, const float *G, float *o) {
    static const float up[8] = {0.082f, 0.148f, 0.222f, 0.292f, 0.358f, 0.46f, 0.56f, 0.7f};
    static const float lo[8] = {0.054f, 0.112f, 0.180f, 0.250f, 0.320f, 0.43f, 0.54f, 0.7f};
    int lower = uv[0] > 5;
    const float *w = lower ? lo : up;
    float a = fabsf(lower ? uv[0] - 10 : uv[0]), sg = (lower ? uv[0] - 10 : uv[0]) < 0 ? -1 : 1, h = uv[1];
    int k = 0;
    while (k < 7 && a > w[k]) k++;
    float from = k ? w[k - 1] : 0, f = (a - from) / (w[k] - from), e = fminf(f, 1 - f) * (w[k] - from);
    float g[3], nz = noise(r[0] * 14, r[1] * 14, r[2] * 14, g);
    float back = smooth(0.80f, 1.22f, r[2]);
    float A[3] = {0.70f, 0.64f, 0.545f};
    float tint = 1 - 0.06f * (k == 2) + 0.03f * nz;
    float gum = smooth(-0.012f, 0.012f, h - (0.080f + 0.035f * (1 - sq(sq(2 * f - 1)))));
    float gap = 1 - 0.55f * (1 - smooth(0.001f, 0.007f, e)) * (1 - gum);
    float corner = 1 - 0.8f * (1 - smooth(0.0f, 0.014f, e + 0.35f * fmaxf(h, 0))) * (1 - gum);
    float edge = 1 - 0.14f * (1 - smooth(0.0f, 0.02f, h));
    float root = 1 - 0.12f * smooth(0.03f, 0.10f, h);
    static const float pink[3] = {0.44f, 0.17f, 0.155f};
    for (int i = 0; i < 3; i++) {
        float t = A[i] * tint * gap * corner * edge * (i == 2 ? root * root : root);
        A[i] = (t + gum * (pink[i] - t)) * (0.25f + 0.75f * back);
    }
    n[0] += sg * (f - 0.5f) * 0.55f * (1 - gum);
    norm3(n);
    shade_simple(s, r, n, v, E, G, A, 0.15f, 0.8f, o);
}

// Shades every sample of the buffers into rgb [H][W][3] (linear light); strand samples take the colours HC [points,3].
void shade(const Scene *s, const int *ib, int W, int H, const float *SP, const int *S, const float *HC, int nstrand, const float *bg, float *rgb) {
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            size_t q = (size_t)y * W + x;
            int id = ib[q];
            float *o = rgb + 3 * q;
            if (id < 0) {
                memcpy(o, bg + 3 * q, 12);
                continue;
            }
            if (id >= s->nt) {
                int k = id - s->nt;
                if (k >= nstrand) continue;
                const float *a = SP + 3 * S[2 * k], *b = SP + 3 * S[2 * k + 1];
                float dx = b[0] - a[0], dy = b[1] - a[1];
                float t = ((x + 0.5f - a[0]) * dx + (y + 0.5f - a[1]) * dy) / (dx * dx + dy * dy + 1e-6f);
                t = CLAMP(t, 0.f, 1.f);
                for (int i = 0; i < 3; i++) o[i] = HC[3 * S[2 * k] + i] * (1 - t) + HC[3 * S[2 * k + 1] + i] * t;
                continue;
            }
            const int *t = s->T + 3 * id;
            const float *a = s->P + 3 * t[0], *b = s->P + 3 * t[1], *c = s->P + 3 * t[2];
            float ia = 1 / ((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]));
            float dx = x + 0.5f - a[0], dy = y + 0.5f - a[1];
            float wb = (dx * (c[1] - a[1]) - dy * (c[0] - a[0])) * ia, wc = (dy * (b[0] - a[0]) - dx * (b[1] - a[1])) * ia, wa = 1 - wb - wc;
            float p[3], n[3], r[3], E[3], G[4], uv[2], v[3];
#define MIX(dst, src, k, i) dst[i] = wa * s->src[k * t[0] + i] + wb * s->src[k * t[1] + i] + wc * s->src[k * t[2] + i]
            for (int i = 0; i < 3; i++) {
                MIX(p, V, 3, i);
                MIX(n, N, 3, i);
                MIX(r, R, 3, i);
                MIX(E, E, 3, i);
                v[i] = s->cam[i] - p[i];
            }
            for (int i = 0; i < 4; i++) MIX(G, G, 4, i);
            for (int i = 0; i < 2; i++) uv[i] = wa * s->UV[6 * id + i] + wb * s->UV[6 * id + 2 + i] + wc * s->UV[6 * id + 4 + i];
            norm3(n);
            norm3(v);
            switch (s->M[id]) {
            case 0:
                shade_skin(s, r, uv, n, v, E, G, o);
                break;
            case 1:
                shade_eye(s, p, v, E, G, o);
                break;
            case 2:
                shade_tooth(s, r, uv, n, v, E, G, o);
                break;
            case 3: { // tongue
                float g[3], f = noise(r[0] * 34, r[1] * 34, r[2] * 34, g);
                float A[3] = {0.44f * (1 + 0.08f * f), 0.155f * (1 + 0.15f * f), 0.135f * (1 + 0.15f * f)};
                bump(n, g, 0.05f);
                shade_simple(s, r, n, v, E, G, A, 0.30f, 0.9f, o);
                break;
            }
            default: { // cloth: a knitted weave
                float g[3], f = noise(r[0] * 9, r[1] * 9, r[2] * 9, 0);
                float th = noise(r[0] * 60, r[1] * 34, r[2] * 60, g);
                const float *K = s->skin + 13;
                float k = 1 + 0.06f * f + 0.13f * th;
                float A[3] = {K[0] * k, K[1] * k, K[2] * k};
                float ng[3] = {g[0], g[1], g[2]};
                bump(n, ng, 0.10f);
                shade_simple(s, r, n, v, E, G, A, 0.6f, 0.5f, o);
                float fz = 1 - fmaxf(dot3(n, v), 0);
                for (int i = 0; i < 3; i++) o[i] += 0.10f * fz * fz * E[i] * (0.4f + A[i]);
            }
            }
        }
}

// Light on hair points: a diffuse part and two shifted highlights (Marschner's R and TRT, much simplified).
void hair_light(const float *V, const float *Tg, const float *base, int n, const float *trans, const float *dirs, const float *colors, int nd,
                const float *amb, const float *ambt, const float *cam, float gloss, const float *shift, float *out) {
    for (int k = 0; k < n; k++) {
        const float *t = Tg + 3 * k, *b = base + 3 * k;
        float v[3] = {cam[0] - V[3 * k], cam[1] - V[3 * k + 1], cam[2] - V[3 * k + 2]}, o[3];
        norm3(v);
        float tv = CLAMP(dot3(t, v), -1.f, 1.f), av = asinf(tv);
        for (int i = 0; i < 3; i++) o[i] = amb[i] * ambt[k] * b[i];
        for (int d = 0; d < nd; d++) {
            const float *l = dirs + 3 * d;
            float tl = CLAMP(dot3(t, l), -1.f, 1.f), al = asinf(tl), w = trans[(size_t)d * n + k];
            if (w < 0.004f) continue;
            float cosd = sqrtf(1 - tl * tl);
            float th = (av + al) * 0.5f, sh = shift[k];
            float r1 = expf(-sq((th + 0.10f + sh) / 0.13f)), r2 = expf(-sq((th - 0.16f + sh) / 0.24f));
            // azimuth: forward or back scatter
            float pv[3], pl[3];
            for (int i = 0; i < 3; i++) pv[i] = v[i] - tv * t[i], pl[i] = l[i] - tl * t[i];
            norm3(pv), norm3(pl);
            float ca = dot3(pv, pl);
            float front = 0.55f + 0.45f * ca, thru = ca < 0 ? 0.35f * ca * ca * expf(-sq(th / 0.35f)) : 0;
            for (int i = 0; i < 3; i++)
                o[i] += colors[3 * d + i] * w * (b[i] * cosd * (0.45f + 0.25f * ca) + gloss * front * (0.16f * r1 + r2 * b[i] * 2.6f) + gloss * thru * sqrtf(b[i]));
        }
        for (int i = 0; i < 3; i++) out[3 * k + i] = o[i];
    }
}

// Box-like filter with a slightly wider kernel, then tone curve and sRGB: rgb [h*ss][w*ss][3] -> out [h][w][3] bytes, BGR.
void resolve(const float *rgb, int w, int h, int ss, float exposure, uint8_t *out) {
    int W = w * ss, H = h * ss;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            float acc[3] = {0, 0, 0}, ws = 0;
            for (int j = -1; j < ss + 1; j++)
                for (int i = -1; i < ss + 1; i++) {
                    int X = CLAMP(x * ss + i, 0, W - 1), Y = CLAMP(y * ss + j, 0, H - 1);
                    float k = ((i < 0 || i >= ss) ? 0.35f : 1) * ((j < 0 || j >= ss) ? 0.35f : 1);
                    const float *p = rgb + 3 * ((size_t)Y * W + X);
                    // tone curve per sample, so that a bright glint does not alias
                    for (int c = 0; c < 3; c++) {
                        float v = fmaxf(p[c] * exposure, 0);
                        v = (v * (2.51f * v + 0.03f)) / (v * (2.43f * v + 0.59f) + 0.14f);
                        acc[c] += k * fminf(v, 1.f);
                    }
                    ws += k;
                }
            for (int c = 0; c < 3; c++) {
                float v = acc[c] / ws;
                v = v <= 0.0031308f ? 12.92f * v : 1.055f * powf(v, 1 / 2.4f) - 0.055f;
                out[3 * ((size_t)y * w + x) + 2 - c] = (uint8_t)CLAMP(v * 255 + 0.5f, 0.f, 255.f);
            }
        }
}
