"""Write ``breakout.pt``: a TorchScript program, as another team may hand it over."""

import torch
from torch import nn


class Classifier(nn.Module):
    """Logits of BUY, SELL and HOLD from five columns: float32 [batch, 5] to [batch, 3]."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        move = rows[:, 3] / rows[:, 4].clamp(min=1.0)
        return torch.stack([4 * move, -4 * move, torch.zeros_like(move)], dim=1)


if __name__ == "__main__":
    torch.jit.script(Classifier()).save("breakout.pt")
