"""A ROS 2 node: topics visible and infrared in, topic fused out. It reads rig.json, of `iassf-jax align`."""

import message_filters
import rclpy
from cv_bridge import CvBridge
from rclpy.node import Node
from sensor_msgs.msg import Image

import iassf_jax
from iassf_jax.align.placing import Placing, prepare_placed
from iassf_jax.align.rig import Rig
from iassf_jax.fuse.video import SteadyFuser


class FusionNode(Node):
    """Dehazes and fuses each pair of frames with the default weights, steadily over time."""

    def __init__(self) -> None:
        super().__init__("iassf")
        self.bridge, self.steady = CvBridge(), SteadyFuser(iassf_jax.load())
        self.placing = Placing(Rig.read("rig.json"))
        self.out = self.create_publisher(Image, "fused", 1)
        topics = [message_filters.Subscriber(self, Image, name) for name in ("visible", "infrared")]
        self.pairs = message_filters.ApproximateTimeSynchronizer(topics, queue_size=2, slop=0.05)
        self.pairs.registerCallback(self.fuse)

    def fuse(self, visible: Image, infrared: Image) -> None:
        """Publishes what a pair of messages, of nearly the same time, gives."""
        frame = self.bridge.imgmsg_to_cv2(visible, "rgb8")
        heat = self.bridge.imgmsg_to_cv2(infrared)  # mono8 or mono16
        result = self.steady(*prepare_placed(frame, heat, placing=self.placing))
        message = self.bridge.cv2_to_imgmsg(result["fused"], "rgb8")
        message.header = visible.header
        self.out.publish(message)


if __name__ == "__main__":
    rclpy.init()
    rclpy.spin(FusionNode())
