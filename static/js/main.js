/** The one module of every page: switches on all behaviours; each waits for its data attribute. */
import { bindCopy } from "./copy.js";
import { confirmRequests } from "./dialog.js";
import { bindDrop } from "./drop.js";
import { bindKeys } from "./keys.js";
import { bindLogs } from "./log.js";
import { bindMenus } from "./menu.js";
import { bindSend } from "./send.js";
import { connect } from "./stream.js";
import { bindTheme } from "./theme.js";
import { bindTimes } from "./time.js";
import { listen } from "./toast.js";

listen();
confirmRequests();
bindTheme();
bindMenus();
bindTimes();
bindCopy();
bindDrop();
bindKeys();
bindLogs();
bindSend();
connect();
