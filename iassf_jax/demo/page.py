"""`iassf-jax demo`: a web page for one pair of images. What it does is in `demo_session`; here is how it looks.

Gradio is imported inside functions: it is an extra, and most of this package's users have no need for it.
"""

import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iassf_jax.demo import session as demo_session
from iassf_jax.demo.guard import Guard
from iassf_jax.demo.session import Example, Job, Options, Session
from iassf_jax.errors import UserError

HOST, PORT = "127.0.0.1", 7860
WAITING = 16  # jobs in the queue; one runs at a time
_SWEEP = 600  # seconds between looks at what is to be removed

_HEAD = """# Dehaze and fuse a pair of images
One network takes a hazy visible image and its aligned infrared partner, and gives a haze-free and a fused image.
Everything stays on the machine that runs this page."""
_EXAMPLES = "Generated scenes. iassf-msrs knows the haze of the first three alone, iassf-haze that of all four."

_CSS = """
.gradio-container { max-width: min(1320px, 100vw) !important; margin: 0 auto !important; }
:is(#status, #prompts) .html-container { padding: 0; }
#examples .grid-wrap { min-height: 0; }
#examples .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)); }
#examples .thumbnail-item { width: 100%; }
.iassf-error { color: #b91c1c; background: #fef2f2; border: 1px solid #b91c1c; border-radius: 6px; padding: 8px 12px;
  overflow-wrap: anywhere; }
.dark .iassf-error { color: #fecaca; background: #450a0a; }
.iassf-done { font-weight: 600; }
.iassf-note { color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
table.iassf-weights { width: 100%; margin: 0; border: 0 !important; border-collapse: collapse; }
table.iassf-weights :is(tr, th, td) { border: 0 !important; padding: 3px 8px 3px 0 !important; text-align: left;
  font-weight: 400 !important; white-space: nowrap; }
table.iassf-weights tbody td { width: 50%; }
.iassf-bar { display: inline-block; width: calc(var(--share) * (100% - 48px)); height: 10px; margin-right: 6px;
  border-radius: 2px; background: var(--color-accent); }
"""


def run(
    host: str = HOST,
    port: int = PORT,
    checkpoint: str | None = None,
    max_pixels: int = demo_session.MAX_PIXELS,
    names: Sequence[str] = (),
) -> None:
    """Serves the page until it is interrupted (Ctrl-C, or SIGTERM). Uploads and results are removed at the end.

    Args:
        host: address to listen on; others than the default let the network in.
        port: 1..65535, and free.
        checkpoint: weights to begin with, whatever `iassf_jax.load` takes; None: the shipped ones.
        max_pixels: the largest image, height times width.
        names: host names under which browsers may ask for the page, besides `host`, localhost and addresses.

    Raises:
        UserError: Gradio is missing, the port is taken, the address is not this machine's, or the weights are bad.
    """
    print("starting the page (some seconds) ...", file=sys.stderr, flush=True)
    _check_address(host, port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, so that the folder goes
    with tempfile.TemporaryDirectory(prefix="iassf-demo-") as name:
        folder = Path(name)
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "page")  # Gradio looks at it while it is imported, and later
        gradio = _gradio()
        jobs = folder / "jobs"
        jobs.mkdir()
        session = Session(jobs, checkpoint, max_pixels, folder / "page")
        page = build(gradio, session, demo_session.make_examples(folder / "examples"))
        try:
            url = _launch(gradio, page, session, host, port, names)
            print(f"the page is at {url} (stop it with Ctrl-C)", flush=True)
            while True:
                time.sleep(_SWEEP)
                session.sweep()
        finally:
            page.close(verbose=False)


def _gradio() -> Any:
    """Gradio, told not to call home."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import gradio
    except ImportError as error:
        raise UserError(f"the web page needs Gradio ({error}): python -m pip install 'iassf-jax[demo]'") from None
    return gradio


def _check_address(host: str, port: int) -> None:
    """Raises a UserError where nothing could listen; Gradio's own message comes after seconds of loading."""
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port}: give one of 1 to 65535")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except socket.gaierror:
        raise UserError(f"--host {host}: no such address: use {HOST}, or 0.0.0.0 for every network") from None
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: {error.strerror}: use another, e.g. --port {port + 1}") from None


def _launch(gradio: Any, page: Any, session: Session, host: str, port: int, names: Sequence[str]) -> str:
    """Starts the server in the background and gives its address."""
    from starlette.middleware import Middleware  # comes with Gradio

    longest = 2 * session.max_bytes + 2**16  # both images, and what is around them
    guard = Middleware(Guard, host=host, names=names, uploads=session.uploads, longest=longest)
    for name in ("no_proxy", "NO_PROXY"):  # Gradio calls itself once, which a proxy would answer
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "localhost", "127.0.0.1", host]))
    page.queue(default_concurrency_limit=1, max_size=WAITING)
    try:
        _, url, _ = page.launch(
            server_name=f"[{host}]" if ":" in host else host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=session.max_bytes,
            app_kwargs={"middleware": [guard]},
            footer_links=[],
            enable_monitoring=False,
            mcp_server=False,
            ssr_mode=False,
            pwa=False,
            theme=gradio.themes.Default(),  # its fonts come with Gradio
            css=_CSS,
        )
    except OSError:
        raise UserError(f"--port {port} is in use: give another, e.g. --port {port + 1}") from None
    return url


def build(gradio: Any, session: Session, examples: list[Example]) -> Any:
    """The page, not yet served: a gradio.Blocks."""
    kept = (_SWEEP, demo_session.KEPT_SECONDS)
    with gradio.Blocks(title="iassf_jax", analytics_enabled=False, delete_cache=kept) as page:
        gradio.Markdown(_HEAD)
        inputs = _inputs(gradio, session, examples)
        outputs = _outputs(gradio)
        _wire(gradio, session, examples, inputs, outputs)
    return page


def _inputs(gradio: Any, session: Session, examples: list[Example]) -> dict[str, Any]:
    parts = {}
    with gradio.Row():
        with gradio.Column(min_width=320):
            gradio.Markdown("**Pick an example**")
            parts["gallery"] = gradio.Gallery(
                [(str(example.visible), example.caption) for example in examples],
                show_label=False,
                columns=4,
                height="auto",
                allow_preview=False,
                interactive=False,
                buttons=[],
                elem_id="examples",
            )
            gradio.Markdown(_EXAMPLES)
        with gradio.Column(min_width=320):
            gradio.Markdown("**or upload a pair**")
            with gradio.Row():
                for side in ("visible", "infrared"):
                    parts[side] = gradio.File(
                        label=f"{side.capitalize()} image",
                        height=170,
                        min_width=220,
                        elem_id=f"upload-{side}",
                    )
    with gradio.Accordion("Options", open=False):
        _options(gradio, session, parts)
    parts["run"] = gradio.Button("Dehaze and fuse", variant="primary", elem_id="run")
    return parts


def _options(gradio: Any, session: Session, parts: dict[str, Any]) -> None:
    with gradio.Row():
        with gradio.Column(min_width=300):
            parts["weights"] = gradio.Dropdown(
                session.choices(), value=session.first, label="Weights", info=session.haze_line(session.first)
            )
        with gradio.Column(min_width=300):
            parts["stretch"] = gradio.Checkbox(
                label=demo_session.STRETCH, info="For raw thermal data of 14 or 16 bits, and for temperatures."
            )
            with gradio.Row():
                parts["low"] = gradio.Number(1, label="Low percentile", minimum=0, maximum=100, min_width=100)
                parts["high"] = gradio.Number(99, label="High percentile", minimum=0, maximum=100, min_width=100)
        with gradio.Column(min_width=300):
            parts["resize"] = gradio.Checkbox(
                label="Resize the infrared image to the visible one", info="Only where both show the same view."
            )
            parts["rig"] = gradio.File(
                label="Rig (JSON), of cameras that iassf-jax align has aligned", height=120, file_types=[".json"]
            )
            limits = f"{session.max_pixels:,} pixels and {session.max_bytes / 2**20:.1f} MiB an image"
            gradio.Markdown(f"Limits: {limits}, one job at a time.")
        with gradio.Column(min_width=300):
            parts["dehaze"] = gradio.Slider(0, 1, 1, step=0.05, label="Haze taken off", info="0: the hazy image")
            parts["heat"] = gradio.Slider(0, 1, 1, step=0.05, label="Infrared added", info="0: the dehazed image")
            parts["t0"] = gradio.Number(
                0,
                label="Least transmission",
                info="Up to 1, e.g. 0.05: lower takes off more haze, with more noise. 0: the weights' own.",
            )


def _outputs(gradio: Any) -> dict[str, Any]:
    parts = {"status": gradio.HTML(elem_id="status", min_height=28, padding=False)}
    shared = {"show_label": False, "type": "filepath", "interactive": False, "buttons": ["fullscreen"]}
    with gradio.Row():
        for name in ("hazy", "infrared", "haze density", "dehazed", "fused"):
            with gradio.Column(min_width=180):
                title = name.capitalize()
                gradio.Markdown(f"**{title}**")
                parts[name] = gradio.Image(
                    label=title, alt_text=title, height=180, elem_id=name.replace(" ", "-"), **shared
                )
    with gradio.Row():
        with gradio.Column(scale=3, min_width=320), gradio.Tabs():
            for name in ("dehazed", "fused"):
                with gradio.Tab(f"Hazy | {name}"):
                    parts[f"slider {name}"] = gradio.ImageSlider(elem_id=f"slider-{name}", **shared)
        with gradio.Column(scale=2, min_width=320):
            gradio.Markdown("**Prompt weights**: how much each learned prompt counts in this pair")
            parts["weights"] = gradio.HTML(elem_id="prompts", min_height=28, padding=False)
            gradio.Markdown("**Download** (PNG; haze density in grey, 255 is 1)")
            with gradio.Row():
                for name in ("fused", "dehazed", "haze density"):
                    parts[f"download {name}"] = gradio.DownloadButton(
                        name.capitalize(),
                        size="md",
                        min_width=100,
                        interactive=False,
                        elem_id=f"download-{name.replace(' ', '-')}",
                    )
    return parts


def _wire(
    gradio: Any, session: Session, examples: list[Example], inputs: dict[str, Any], outputs: dict[str, Any]
) -> None:
    files = [inputs["visible"], inputs["infrared"]]
    shown = list(outputs.values())

    def values(**by_name: Any) -> dict[Any, Any]:
        """Every output: emptied, unless it is named."""
        empty = {name: None for name in outputs} | {name: _button(gradio) for name in outputs if "download" in name}
        return {outputs[name]: value for name, value in (empty | by_name).items()}

    def preview(visible: str | None, infrared: str | None) -> dict[Any, Any]:
        try:
            hazy, heat = session.preview(visible, infrared)
        except UserError as error:
            return values(status=demo_session.status_html(str(error), error=True))
        return values(hazy=hazy, infrared=heat)

    def pick(event: gradio.SelectData) -> dict[Any, Any]:
        example = examples[event.index]
        picked = {inputs["visible"]: str(example.visible), inputs["infrared"]: str(example.infrared)}
        return picked | preview(str(example.visible), str(example.infrared))

    def work(visible: str | None, infrared: str | None, *chosen: Any) -> dict[Any, Any]:
        try:
            job = session.run(visible, infrared, Options(*chosen))
        except UserError as error:
            return values(status=demo_session.status_html(str(error), error=True))
        return values(**_of_job(gradio, job))

    def haze_line(weights: str) -> Any:
        return gradio.Dropdown(info=session.haze_line(weights))

    private = {"api_visibility": "private"}
    in_order = private | {"show_progress": "hidden", "concurrency_id": "preview"}  # of clearing and uploading, the last
    for file in files:
        for event in (file.upload, file.clear):
            event(preview, files, shown, **in_order)
        file.upload(lambda: gradio.Gallery(selected_index=None), None, inputs["gallery"], queue=False, **private)
    inputs["gallery"].select(pick, None, [*files, *shown], **in_order)
    inputs["weights"].change(haze_line, inputs["weights"], inputs["weights"], show_progress="hidden", **private)
    # In the order of the fields of Options.
    names = ("weights", "stretch", "low", "high", "resize", "dehaze", "heat", "t0", "rig")
    chosen = [inputs[name] for name in names]
    inputs["run"].click(work, [*files, *chosen], shown, show_progress_on=[outputs["status"]], **private)


def _button(gradio: Any, file: Path | None = None) -> Any:
    return gradio.DownloadButton(value=None if file is None else str(file), interactive=file is not None)


def _of_job(gradio: Any, job: Job) -> dict[str, Any]:
    """A result by the names of the page's outputs."""
    return {
        "status": demo_session.status_html(job.message, job.notes),
        "hazy": job.hazy,
        "infrared": job.infrared,
        "haze density": job.density_map,
        "dehazed": job.dehazed,
        "fused": job.fused,
        "slider dehazed": (job.hazy, job.dehazed),
        "slider fused": (job.hazy, job.fused),
        "weights": demo_session.prompt_weights_html(job.prompt_weights),
        "download fused": _button(gradio, job.fused),
        "download dehazed": _button(gradio, job.dehazed),
        "download haze density": _button(gradio, job.density),
    }
