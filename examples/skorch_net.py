"""Attach to a net of skorch, and search a grid: each candidate has copies of the sinks.

python examples/skorch_net.py
"""

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetRegressor

from monitor_core import EarlyStopping, History
from monitor_core.adapters.skorch import SkorchAdapter


class Net(torch.nn.Module):
    def __init__(self, units=8):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(1, units), torch.nn.Tanh(), torch.nn.Linear(units, 1))

    def forward(self, x):
        return self.layers(x)


def main() -> None:
    torch.manual_seed(0)
    x = np.random.default_rng(0).uniform(-1, 1, (256, 1)).astype(np.float32)
    y = np.sin(3 * x)
    adapter = SkorchAdapter(History(), EarlyStopping("val_loss", patience=3))
    net = NeuralNetRegressor(
        Net, max_epochs=20, optimizer=torch.optim.Adam, lr=0.01, batch_size=16, callbacks=[adapter], verbose=0
    )
    search = GridSearchCV(net, {"lr": [0.003, 0.03], "module__units": [8, 32]}, cv=3, scoring="r2").fit(x, y)

    best = search.best_estimator_.callbacks[0]
    history = best.bus.sinks[0]
    print(f"best: {search.best_params_}, r2 {search.best_score_:.3f}; {best.run.status} after {best.run.step} steps")
    print("val_loss by epoch:", history["val_loss"].round(4))


if __name__ == "__main__":
    main()
