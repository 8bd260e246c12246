// A program of JavaScript that makes TLS calls, for the bench `probe`: `echo.mjs SIZE CERTIFICATE KEY`.
//
// A client and a server on loopback send messages of SIZE bytes to and fro. For each line of the standard input it does so
// for a while and prints nanoseconds of one write and one read: of the processor, and that passed.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import tls from 'node:tls';

const TURN = 700;
const [size, certificate, key] = process.argv.slice(2);
const message = (head) => {
  const start = `${head}content-length: ${size}\r\n\r\n{"model":"`;
  return Buffer.from(start.padEnd(Number(size), 'x').slice(0, Number(size)));
};
const request = message('POST /v1/messages HTTP/1.1\r\nhost: a.ai\r\n');
const response = message('HTTP/1.1 200 OK\r\n');

const whole = (socket, length, then) => {
  let missing = length;
  socket.on('data', (piece) => {
    missing -= piece.length;
    if (missing === 0) {
      missing = length;
      then();
    }
  });
};

const server = tls.createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (socket) => {
  socket.setNoDelay(true);
  whole(socket, request.length, () => socket.write(response));
});
server.listen(0, '127.0.0.1', () => {
  const options = { port: server.address().port, host: '127.0.0.1', rejectUnauthorized: false };
  const client = tls.connect(options, () => {
    client.setNoDelay(true);
    let done = () => {};
    whole(client, response.length, () => done());
    const exchange = () =>
      new Promise((resolve) => {
        done = resolve;
        client.write(request);
      });
    console.log(process.execPath);
    createInterface({ input: process.stdin }).on('line', async () => {
      const [start, used] = [performance.now(), process.cpuUsage()];
      let exchanges = 0;
      while (performance.now() - start < TURN) {
        await exchange();
        exchanges += 1;
      }
      const { user, system } = process.cpuUsage(used);
      const passed = performance.now() - start;
      // Two pairs of calls each: the client's and the server's.
      console.log(`${((user + system) * 1e3) / exchanges / 2} ${(passed * 1e6) / exchanges / 2}`);
    });
  });
});
