// One Gaussian at one pixel, premultiplied by its alpha. Colours are sRGB values and blended as such, as in 3DGS.

precision highp float;

in vec2 offset;
flat in vec4 paint;
out vec4 fragment;

const float ALPHA_CAP = 0.999;
const float FAINTEST = 1.0 / 255.0;

void main() {
  float alpha = min(ALPHA_CAP, paint.a * exp(-0.5 * dot(offset, offset)));
  if (alpha < FAINTEST) discard;
  fragment = vec4(paint.rgb * alpha, alpha);
}
