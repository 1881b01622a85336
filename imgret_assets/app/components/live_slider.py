"""A slider that reports its value while it is dragged; Streamlit's own does so only at the end.

Belongs here: the element in the browser and its value. Not here: what follows from a value
(`app.components.threshold_picker`).
"""

from functools import cache
from typing import Any

from streamlit.components.v2 import component

_HTML = '<label><span></span><input type="range"><output></output></label>'
_STYLES = """
label { display: grid; grid-template-columns: auto 1fr auto; gap: .75rem; align-items: center;
  font: 1rem var(--st-font); color: var(--st-text-color); }
input { width: 100%; accent-color: var(--st-primary-color); cursor: pointer; height: 1.5rem; }
output { font-weight: 600; font-variant-numeric: tabular-nums; }
"""
# A value is sent at most every 120 ms, and the last one always: the page draws about as often.
_SCRIPT = """
const PAUSE_MS = 120;
export default function ({ parentElement, data, setStateValue }) {
  const input = parentElement.querySelector('input');
  const output = parentElement.querySelector('output');
  const show = () => { output.textContent = Number(input.value).toFixed(data.digits); };
  parentElement.querySelector('span').textContent = data.label;
  if (input.dataset.start !== String(data.value)) {
    Object.assign(input, { min: data.min, max: data.max, step: data.step });
    input.value = data.value;
    input.dataset.start = String(data.value);
  }
  show();
  let timer = null, sent = 0;
  const send = () => { timer = null; sent = Date.now(); setStateValue('value', Number(input.value)); };
  input.oninput = () => {
    show();
    timer ??= setTimeout(send, Math.max(0, PAUSE_MS - (Date.now() - sent)));
  };
  return () => clearTimeout(timer);
}
"""


def live_slider(
    label: str, *, min_value: float, max_value: float, value: float, step: float, digits: int, key: str
) -> float:
    """Show a slider and return its value; the fragment or page is drawn again while it is dragged.

    Args:
        label: text beside it.
        min_value: the lowest value.
        max_value: the highest value.
        value: the value at the start.
        step: distance between two values.
        digits: decimals that are shown.
        key: of the element.
    """
    data = {"label": label, "min": min_value, "max": max_value, "value": value, "step": step, "digits": digits}
    result = _component()(key=key, data=data, default={"value": value}, on_value_change=_draw_again)
    # Whatever the browser sends, within the limits.
    return min(max_value, max(min_value, round(float(result.value), digits)))


def _draw_again() -> None:
    """Do nothing: a callback makes a change of the value draw the page again."""


@cache
def _component() -> Any:
    return component("imgret_live_slider", html=_HTML, css=_STYLES, js=_SCRIPT)
