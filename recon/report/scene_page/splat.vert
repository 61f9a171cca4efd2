// One Gaussian as one quad: EWA projection (Zwicker et al. 2001, eq. 29-31) with the conventions of recon/render.
// Camera axes are OpenCV's (x right, y down, z forward), pixel centres at .5. What is in capitals and not below is
// defined by the renderer.

precision highp float;
precision highp int;
precision highp usampler2D;

uniform usampler2D order;      // 1 texel: which Gaussian; the farthest comes first
uniform int visible;           // how many there are in `order`
uniform usampler2D shapes;     // 2 texels a Gaussian: mean (3 floats), colour and opacity (4 bytes); quaternion, sigmas
uniform usampler2D harmonics;  // SH_TEXELS texels a Gaussian, one uint a coefficient: 3 bytes, 128 is zero
uniform mat3 camFromWorld;
uniform vec3 eye;
uniform vec2 size;             // of the picture, in pixels
uniform float focal;           // in pixels
uniform vec2 logSigma;         // smallest, and step
uniform vec2 colorRange;       // smallest, and range

out vec2 offset;               // from the mean, in standard deviations along the ellipse's axes
flat out vec4 paint;           // colour and opacity

const float NEAR = 0.1;        // units of the page; recon/render clips at 0.01 where the median depth is 1, not 10
const float DILATION = 0.3;    // square pixels; 3DGS's low-pass filter
const float MARGIN = 0.15;     // share of the picture beyond its border up to which the Jacobian is exact, as in gsplat
const float FAINTEST = 1.0 / 255.0;

vec3 bytes(uint word) {
  return vec3(word & 255u, (word >> 8) & 255u, (word >> 16) & 255u);
}

uvec4 fetch(usampler2D texels, int at) {
  int width = textureSize(texels, 0).x;
  return texelFetch(texels, ivec2(at % width, at / width), 0);
}

// Rotation matrix of the quaternion (w, x, y, z) of which `word` has all but the largest component, in 9 bits each.
mat3 rotation(uint word) {
  vec3 small = (vec3(word & 511u, (word >> 9) & 511u, (word >> 18) & 511u) / 511.0 - 0.5) * sqrt(2.0);
  float largest = sqrt(max(0.0, 1.0 - dot(small, small)));
  uint at = word >> 27;
  vec4 q = at == 0u ? vec4(largest, small)
         : at == 1u ? vec4(small.x, largest, small.yz)
         : at == 2u ? vec4(small.xy, largest, small.z)
         : vec4(small, largest);
  float w = q.x, x = q.y, y = q.z, z = q.w;
  return mat3(  // by columns
    1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
    2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
    2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
}

#if SH_DEGREE > 0
vec3 coefficient(uint word) {
  return (bytes(word) - 128.0) / 64.0;
}

// What degrees 1 to SH_DEGREE add to the colour seen along the unit vector d: the real basis of recon/render/sh.py.
vec3 viewDependent(int gaussian, vec3 d) {
  float x = d.x, y = d.y, z = d.z;
  uvec4 a = fetch(harmonics, gaussian * SH_TEXELS);
  vec3 sum = 0.4886025119029199 * (-y * coefficient(a.x) + z * coefficient(a.y) - x * coefficient(a.z));
#if SH_DEGREE > 1
  uvec4 b = fetch(harmonics, gaussian * SH_TEXELS + 1);
  sum += 1.0925484305920792 * (x * y * coefficient(a.w) - y * z * coefficient(b.x) - x * z * coefficient(b.z));
  sum += 0.31539156525252005 * (3.0 * z * z - 1.0) * coefficient(b.y);
  sum += 0.5462742152960396 * (x * x - y * y) * coefficient(b.w);
#endif
#if SH_DEGREE > 2
  uvec4 c = fetch(harmonics, gaussian * SH_TEXELS + 2);
  uvec4 e = fetch(harmonics, gaussian * SH_TEXELS + 3);
  float ring = 5.0 * z * z - 1.0;
  sum -= 0.5900435899266435 * y * (3.0 * x * x - y * y) * coefficient(c.x);
  sum += 2.890611442640554 * x * y * z * coefficient(c.y);
  sum -= 0.4570457994644658 * ring * (y * coefficient(c.z) + x * coefficient(e.x));
  sum += 0.3731763325901154 * z * (ring - 2.0) * coefficient(c.w);
  sum += 1.445305721320277 * z * (x * x - y * y) * coefficient(e.y);
  sum -= 0.5900435899266435 * x * (x * x - 3.0 * y * y) * coefficient(e.z);
#endif
  return sum;
}
#endif

void main() {
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0);  // outside of everything, unless the Gaussian turns out to be visible
  int place = gl_InstanceID * BATCH + gl_VertexID / 4;
  if (place >= visible) return;
  int gaussian = int(fetch(order, place).x);
  uvec4 first = fetch(shapes, 2 * gaussian);
  vec3 fromEye = uintBitsToFloat(first.xyz) - eye;
  vec3 p = camFromWorld * fromEye;
  if (p.z < NEAR) return;

  uvec4 second = fetch(shapes, 2 * gaussian + 1);
  vec3 sigma = exp(logSigma.x + logSigma.y * bytes(second.y));
  mat3 axes = camFromWorld * rotation(second.x);  // the ellipsoid's axes in the camera
  axes = mat3(axes[0] * sigma.x, axes[1] * sigma.y, axes[2] * sigma.z);
  vec2 limit = (0.5 + MARGIN) * size / focal;
  vec2 slope = clamp(p.xy / p.z, -limit, limit);
  vec3 depths = vec3(axes[0].z, axes[1].z, axes[2].z);
  vec3 across = (vec3(axes[0].x, axes[1].x, axes[2].x) - slope.x * depths) * focal / p.z;
  vec3 down = (vec3(axes[0].y, axes[1].y, axes[2].y) - slope.y * depths) * focal / p.z;
  float xx = dot(across, across) + DILATION;
  float yy = dot(down, down) + DILATION;
  float xy = dot(across, down);
  vec3 area = cross(across, down);  // its square is the determinant before dilation, without cancellation
  float det = dot(area, area) + DILATION * (xx + yy - DILATION);

  float opacity = float(first.w >> 24) / 255.0;
  float reach = sqrt(2.0 * log(max(opacity / FAINTEST, 1.0)));  // alpha < 1/255 beyond (StopThePop, Radl et al. 2024)
  vec2 center = focal * p.xy / p.z + 0.5 * size;
  vec2 extent = reach * sqrt(vec2(xx, yy));
  if (any(lessThan(center + extent, vec2(0.0))) || any(greaterThan(center - extent, size))) return;

  // The ellipse's axes are the eigenvectors of the covariance.
  float half_gap = 0.5 * (xx - yy);
  float large = 0.5 * (xx + yy) + sqrt(half_gap * half_gap + xy * xy);
  float small = det / large;
  vec2 long_axis = abs(xy) > 1e-6 * large ? normalize(half_gap > 0.0 ? vec2(large - yy, xy) : vec2(xy, large - xx))
                 : half_gap > 0.0 ? vec2(1.0, 0.0) : vec2(0.0, 1.0);

  offset = reach * (2.0 * vec2(gl_VertexID & 1, (gl_VertexID >> 1) & 1) - 1.0);
  vec2 pixel = center + offset.x * sqrt(large) * long_axis + offset.y * sqrt(small) * vec2(-long_axis.y, long_axis.x);
  vec3 color = colorRange.x + colorRange.y * bytes(first.w) / 255.0;
#if SH_DEGREE > 0
  color += viewDependent(gaussian, normalize(fromEye));
#endif
  paint = vec4(max(color, 0.0), opacity);
  gl_Position = vec4(2.0 * pixel.x / size.x - 1.0, 1.0 - 2.0 * pixel.y / size.y, 0.0, 1.0);
}
