// A small web server: one page, a health check, and a graceful end on SIGTERM.
'use strict';

const express = require('express');

const app = express();
const port = process.env.PORT || 8080;
let count = 0;

const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

app.disable('x-powered-by');
app.get('/', (request, response) => {
  count += 1;
  response.send(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Hello from Node.js</title>
<style>body { font: 1.2rem/1.5 system-ui, sans-serif; max-width: 36rem; margin: 4rem auto; padding: 0 1rem }</style>
<h1>Hello from Node.js</h1>
<p>Served by Node.js ${process.version} on ${process.platform}/${process.arch}, to ${escape(request.ip)}.
Page number ${count} since the start.</p>
</html>
`);
});
app.get('/healthz', (_, response) => response.type('text').send('ok\n'));

const server = app.listen(port, () => console.log(`listening on port ${port}`));

function stop() {
  server.close(() => {
    console.log('stopped');
    process.exit(0);
  });
  server.closeIdleConnections();
  // Requests under way have five seconds.
  setTimeout(() => process.exit(1), 5000).unref();
}

process.on('SIGTERM', stop);
process.on('SIGINT', stop);
