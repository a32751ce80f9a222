"""Generated road scenes: aligned visible, infrared and depth images, so that everything runs without a download.

A scene is laid out in metres from its seed (`place`, `layout`: road, buildings, trees, traffic, people), drawn into one
map of surfaces (`canvas`), then looked at twice (`cameras`): as reflected and emitted light (colour, texture, shadows,
lamps) and as temperature (people, engines and sun-warmed ground; cold sky). The air is clear: haze is added elsewhere,
from `depth`.
"""

from iassf_jax.scenes.canvas import SKY_DEPTH
from iassf_jax.scenes.source import LETTERS, LIGHTINGS, Scene, SceneSource, generate_scene, write_scenes

__all__ = ["LETTERS", "LIGHTINGS", "SKY_DEPTH", "Scene", "SceneSource", "generate_scene", "write_scenes"]
