"""What every page has for people who use no mouse or see little contrast.

Belongs here: leaving a list after a choice, colours that Streamlit makes too faint, the graph in a narrow window. Not
here: keys of single pages (`app.components.page_keys`), descriptions of images and charts (where these are drawn), the
link over the menu, which is Streamlit's own.
"""

from functools import cache
from typing import Any

import streamlit as st
from streamlit.components.v2 import component

# A list that is closed by a choice keeps the focus, and the next key would be typed into it instead of pressing a
# button. Without the focus, Tab still goes on from the same place.
_SCRIPT = """
export default function () {
  const controller = new AbortController();
  const leave = () => setTimeout(() => {
    const focused = document.activeElement;
    const isClosed = focused?.getAttribute('aria-expanded') === 'false';
    if (isClosed && focused.getAttribute('role') === 'combobox') focused.blur();
  }, 50);
  const options = { signal: controller.signal, capture: true };
  const listen = (name, handle) => document.addEventListener(name, handle, options);
  listen('keydown', (event) => {
    if (event.key === 'Enter' && document.querySelector('[role=listbox]')) leave();
  });
  listen('click', (event) => {
    if (event.target.closest?.('[role=option]')) leave();
  });
  return () => controller.abort();
}
"""
# Streamlit's colours of captions and chosen values have contrasts of 3.5 to 4.5 to 1 with what is behind them; small
# text needs 4.5.
_STYLES = """<style>
[data-testid=stCaptionContainer][data-testid=stCaptionContainer] {
  color: color-mix(in srgb, currentColor 80%, transparent); opacity: 1;
}
button[data-variant][data-selected=true], button[data-variant][data-selected=true] * { color: inherit !important; }
[data-testid=stSlider][data-testid=stSlider] * { color: inherit; }
/* Squeezed into a narrow window, the graph's images would cover each other: its middle is shown, to be
   dragged. */
@media (max-width: 640px) {
  :is([class*="st-key-graph-chart-"], .st-key-relations) { overflow-x: hidden; }
  :is([class*="st-key-graph-chart-"], .st-key-relations) .echarts-container {
    min-width: 47rem; left: calc((100% - 47rem) / 2);
  }
}
</style>"""


def add_accessibility() -> None:
    """Give the page enough contrast, and lists that leave the keys free after a choice."""
    st.html(_STYLES)
    _component()(key="accessibility")


@cache
def _component() -> Any:
    return component("imgret_accessibility", js=_SCRIPT)
