"""What the tour shows of formulas and thoughts, in both languages."""

_MATH_ZH = r"""高斯积分可以化到平面上来算。设 \(I=\int_{-\infty}^{\infty} e^{-x^2}\,dx\)，则

$$I^2=\iint e^{-(x^2+y^2)}\,dx\,dy=\int_0^{2\pi}\!\!\int_0^{\infty} e^{-r^2}r\,dr\,d\theta=\pi$$

所以 \(I=\sqrt{\pi}\)。离散的情形写成矩阵：

$$\begin{pmatrix} a & b \\ c & d \end{pmatrix}^{-1}=\frac{1}{ad-bc}
\begin{pmatrix} d & -b \\ -c & a \end{pmatrix}$$

- 当 $n$ 很大时，\(\sum_{k=1}^{n}\frac{1}{k}\approx\ln n+\gamma\)
- 定价仍是文字：从 $5 到 $10"""

_MATH_EN = r"""The Gaussian integral is easy in the plane. Let
\(I=\int_{-\infty}^{\infty} e^{-x^2}\,dx\); then

$$I^2=\iint e^{-(x^2+y^2)}\,dx\,dy=\int_0^{2\pi}\!\!\int_0^{\infty} e^{-r^2}r\,dr\,d\theta=\pi$$

and so \(I=\sqrt{\pi}\). A matrix is inverted by

$$\begin{pmatrix} a & b \\ c & d \end{pmatrix}^{-1}=\frac{1}{ad-bc}
\begin{pmatrix} d & -b \\ -c & a \end{pmatrix}$$

- for large $n$, \(\sum_{k=1}^{n}\frac{1}{k}\approx\ln n+\gamma\)
- prices stay text: from $5 to $10"""

_X_ZH = "先求和，再检查边界。\n首项 1，末项 100，共 100 项，所以和是 100 × 101 / 2。"
THOUGHT_EN = "Sum first, then check the ends.\nThe first term is 1, the last 100: 100 × 101 / 2."

MATH = {
    "zh": ("高斯积分怎么算？", _MATH_ZH),
    "en": ("How is the Gaussian integral found?", _MATH_EN),
}
