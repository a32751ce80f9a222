"""Makes adamw.npz: three AdamW steps, and a cosine schedule by epochs, of PyTorch 2.13.0 on a CPU with its defaults.

python tests/values/make_adamw.py    (needs torch; extra "parity")
"""

from pathlib import Path

import numpy as np
import torch

rng = np.random.default_rng(0)
start = rng.standard_normal(50).astype(np.float32)
# Large, small and zero gradients: the last show that epsilon and decay are in the same place.
gradients = (rng.standard_normal((3, 50)) * 10.0 ** rng.integers(-9, 2, (3, 50))).astype(np.float32)
gradients[:, :3] = 0

parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
optimizer = torch.optim.AdamW([parameter], lr=2e-4)
after = []
for gradient in gradients:
    parameter.grad = torch.from_numpy(gradient)
    optimizer.step()
    after.append(parameter.detach().numpy().copy())

scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=300, eta_min=2e-6)
rates = []
for _ in range(300):
    rates.append(scheduler.get_last_lr()[0])
    optimizer.step()
    scheduler.step()
np.savez_compressed(
    Path(__file__).with_name("adamw.npz"),
    start=start,
    gradients=gradients,
    after=np.stack(after),
    rates=np.array(rates),
)
