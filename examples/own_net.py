"""A net of one's own and its training loop, in plain Python."""

import pycnn
from pycnn import nn, ops, optim


class Net(nn.Module):
    def __init__(self):
        self.conv = nn.Conv2d(1, 8, 5, stride=2)
        self.out = nn.Linear(8 * 7 * 7, 10)

    def forward(self, x):  # N,1,32,32
        x = ops.relu(self.conv(x))  # N,8,14,14
        x = ops.max_pool2d(x, 2)  # N,8,7,7
        return self.out(ops.flatten(x, 1))  # N,10


pycnn.manual_seed(0)
train, test = pycnn.data.load("digits")
net = Net()
optimizer = optim.SGD(net.parameters(), lr=0.03, momentum=0.9)
batches = pycnn.data.DataLoader(train, batch_size=32, shuffle=True)
for epoch in range(10):
    for images, labels in batches:
        loss = ops.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}")

images, labels = next(iter(pycnn.data.DataLoader(test, batch_size=len(test))))
with pycnn.no_grad():
    right = (net(images).numpy().argmax(axis=1) == labels.numpy()).mean()
print(f"{100 * right:.1f} % of {len(test)} test digits")
