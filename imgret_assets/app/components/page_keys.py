"""What the browser does for a whole page: images dropped or pasted anywhere, and arrow keys between tiles.

Belongs here: the script for the browser and the styles of tile grids. Not here: the uploader that receives an image
(`app.views.search_page`), the tiles (`app.components.image_tiles`).

An image goes to Streamlit's own uploader, as if it were chosen there, so its limits hold. Arrow keys move the focus
from tile to tile, and Enter presses the focused button, as browsers do.
"""

from functools import cache
from typing import Any

import streamlit as st
from streamlit.components.v2 import component

# Elements with these prefixes of their keys: the uploader that receives images, grids of tiles, and the buttons that
# decide about a set.
UPLOADER_KEY, GRID_KEY, DECIDE_KEY = "upload-", "tiles-", "decide-"
_SCRIPT = """
export default function () {
  const controller = new AbortController();
  const listen = (name, handle) => document.addEventListener(name, handle, { signal: controller.signal });
  const input = () => document.querySelector('[class*="st-key-UPLOADER_KEY"] input[type=file]');
  const upload = (file) => {
    const files = new DataTransfer();
    files.items.add(file);
    input().files = files.files;
    input().dispatchEvent(new Event('change', { bubbles: true }));
  };
  const isText = (element) =>
    element.isContentEditable || element.matches('textarea, select, input:not([type=checkbox]):not([type=radio])');

  listen('paste', (event) => {
    const image = [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith('image/'));
    if (!image || !input()) return;
    event.preventDefault();
    upload(image);
  });
  listen('dragover', (event) => {
    if (input() && event.dataTransfer?.types.includes('Files')) event.preventDefault();
  });
  listen('drop', (event) => {
    const file = event.dataTransfer?.files[0];
    if (!file || !input() || event.target.closest?.('[data-testid=stFileUploaderDropzone]')) return;
    event.preventDefault();
    upload(file);
  });

  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 };
  listen('keydown', (event) => {
    if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const focused = document.activeElement ?? document.body;
    // Sliders, lists, tabs and the like use the arrow keys themselves.
    const roles = ['slider', 'listbox', 'combobox', 'tab', 'radio', 'radiogroup', 'grid'];
    if (isText(focused) || focused.closest(roles.map((role) => `[role=${role}]`).join(','))) return;
    if (document.querySelector('[role=dialog]')) return;
    const tiles = [...document.querySelectorAll('[class*="st-key-GRID_KEY"] [data-testid=stImage]')]
      .map((image) => image.closest('[data-testid=stVerticalBlock]'))
      .map((tile) => ({ tile, button: tile?.querySelector('[data-testid=stButton] button:not(:disabled)') }))
      .filter(({ button }) => button);
    if (!tiles.length) return;
    const current = tiles.findIndex(({ tile }) => tile.contains(focused));
    let next = current + steps[event.key];
    if (current < 0) next = 0;
    else if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
      const top = ({ tile }) => tile.getBoundingClientRect().top;
      const columns = tiles.filter((each) => Math.abs(top(each) - top(tiles[0])) < 2).length;
      next = current + columns * steps[event.key];
    }
    if (next < 0 || next >= tiles.length) return;
    event.preventDefault();
    tiles[next].button.focus({ focusVisible: true });
    tiles[next].tile.scrollIntoView({ block: 'nearest' });
  });
  return () => controller.abort();
}
""".replace("UPLOADER_KEY", UPLOADER_KEY).replace("GRID_KEY", GRID_KEY)

# As many columns as fit, all of one width: images are never enlarged, and no strip at the right stays empty.
_STYLES = f"""<style>
[data-testid=stMainBlockContainer] {{ padding: 4.5rem 2rem 4rem; }}
[class*="st-key-{GRID_KEY}"] {{
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(12.5rem, 46%), 1fr)); align-items: start;
}}
[class*="st-key-{GRID_KEY}"] > * {{ width: 100%; min-width: 0; height: 100%; }}
[class*="st-key-{GRID_KEY}"] [data-testid=stImage] {{ display: flex; justify-content: center; width: 100%; }}
[class*="st-key-{GRID_KEY}"] [data-testid=stImage] img {{ max-width: 100%; height: auto; }}
[class*="st-key-{GRID_KEY}"] > :focus-within {{ outline: 2px solid currentColor; border-radius: .5rem; }}
/* Below the page's header, as long as the set itself is in view. */
[data-testid=stLayoutWrapper]:has(> [class*="st-key-{DECIDE_KEY}"]) {{
  position: sticky; top: 3.75rem; z-index: 90; padding: .5rem 0; background: var(--st-background-color, Canvas);
}}
@media (max-width: 640px) {{
  [data-testid=stMainBlockContainer] {{ padding-left: 1rem; padding-right: 1rem; }}
  /* Three buttons below an image fit beside each other. */
  [class*="st-key-{GRID_KEY}"] [data-testid=stVerticalBlock] {{ padding: .5rem; }}
  [class*="st-key-{GRID_KEY}"] [data-testid=stVerticalBlock] [data-testid=stHorizontalBlock],
  [class*="st-key-{GRID_KEY}"] [data-testid=stVerticalBlock] [class*="st-key-"] {{ gap: 0 .4rem; }}
  [class*="st-key-{GRID_KEY}"] button {{ font-size: .85rem; }}
  [class*="st-key-{GRID_KEY}"] button * {{ font-size: inherit; }}
}}
</style>"""


def add_styles() -> None:
    """Give the page narrow margins, and grids of tiles all of its width."""
    st.html(_STYLES)


def add_keys() -> None:
    """Make the page take images that are dropped or pasted anywhere, and move between tiles by arrow keys."""
    _component()(key="page-keys")


@cache
def _component() -> Any:
    return component("imgret_page_keys", js=_SCRIPT)
