// BullMQ: `publish N` fills the queue, `work` handles it, in this process or in sandboxes.

const path = require("node:path");
const { createRequire } = require("node:module");
const { Queue, Worker } = createRequire(path.join(process.env.PEER_FOLDER, "package.json"))("bullmq");

const settings = JSON.parse(process.env.PEER_SETTINGS);
const url = new URL(process.env.PEER_URL);
const connection = { host: url.hostname, port: Number(url.port), db: Number(url.pathname.slice(1)) };

const payload = (number) => ({ number, celsius: (number % 60) - 20, padding: "x".repeat(150) });

async function publish(events) {
  const queue = new Queue("events", { connection });
  for (let begin = 0; begin < events; begin += 500) {
    const jobs = [];
    for (let number = begin; number < Math.min(begin + 500, events); number++) {
      jobs.push({ name: "handle", data: payload(number), opts: settings.job ?? {} });
    }
    await queue.addBulk(jobs);
  }
  await queue.close();
}

function work() {
  const processor = path.join(__dirname, "bullmq_processor.cjs");
  new Worker("events", settings.sandboxed ? processor : require(processor), { connection, ...settings.worker });
}

if (process.argv[2] === "publish") {
  publish(Number(process.argv[3])).then(() => process.exit(0));
} else {
  work();
}
