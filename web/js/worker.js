// The shared worker of all tabs of a browser: they have one event stream together. A browser opens at most six
// connections to a server, so that a stream for each tab would soon leave none for requests.
//
// A tab sends [name, argument], a call of what join() of stream.js returns, or ['join']. It gets [name, detail].
import { createHub } from './stream.js';

const hub = createHub();

self.onconnect = ({ ports: [port] }) => {
  const join = () => hub.join((name, detail) => port.postMessage([name, detail]));
  let listener = join();
  port.onmessage = ({ data: [name, argument] }) => {
    if (name === 'join') listener = join();
    else listener[name](argument);
  };
};
