// A classic script in the head, so that the page never shows the wrong theme first.
(() => {
  try {
    const theme = localStorage.getItem("cofactor:theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage is blocked: the theme of the system applies.
  }
})();
