"""An op of one's own, swish(x) = x · sigmoid(x) (Ramachandran et al. 2017), checked and then trained with."""

import numpy as np

import pycnn
from pycnn import nn, ops, optim


class Swish(pycnn.Function):
    def forward(self, x):
        gate = 1 / (1 + self.backend.xp.exp(-x))
        self.save(x, gate)
        return x * gate

    def backward(self, dy):
        x, gate = self.saved
        dx, accumulate = self.grad_buffer(0)  # where x's gradient belongs; another op may have written there already
        gradient = dy * gate * (1 + x * (1 - gate))
        dx[...] = dx + gradient if accumulate else gradient


class Net(nn.Module):
    def __init__(self):
        self.conv = nn.Conv2d(1, 8, 5, stride=2)
        self.out = nn.Linear(8 * 7 * 7, 10)

    def forward(self, x):  # N,1,32,32
        x = ops.max_pool2d(Swish()(self.conv(x)), 2)  # N,8,7,7
        return self.out(ops.flatten(x, 1))  # N,10


x = pycnn.Tensor(np.linspace(-3, 3, 7), requires_grad=True, dtype=np.float64)
pycnn.gradcheck(lambda x: Swish()(x), [x])  # against differences of the function's values

pycnn.manual_seed(0)
train, test = pycnn.data.load("digits")
net = Net()
trainer = pycnn.train.Trainer(
    net,
    optim.SGD(net.parameters(), lr=0.03, momentum=0.9),
    pycnn.data.DataLoader(train, batch_size=32, shuffle=True),
    pycnn.data.DataLoader(test, batch_size=360),
    epochs=10,
)
trainer.fit()
