// Line and bar charts as inline SVG.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace snell::report {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points{};  // in order of x; a y that is not finite (or beyond 1e150) is a gap
  bool noisy = false;                               // when long: drawn faintly, with its means on top
};

struct Mark {
  double x = 0;
  std::string title;
};

struct LineChart {
  std::string title;
  std::string x_label;
  std::string y_label;
  std::vector<Series> series;
  std::vector<Mark> marks;  // vertical lines, such as where a run was resumed
};

// "" when no series has a finite point. Long series are thinned, keeping each stretch's lowest and highest point.
std::string line_chart(const LineChart& chart);

// The same as a file of its own, with title and legend in the picture; light and dark. "" where line_chart() is.
std::string standalone_svg(const LineChart& chart);

struct Bar {
  std::string name;
  double value = 0;  // not finite: no bar
  std::string text;  // what stands at its end
};

// Horizontal bars from 0.
std::string bar_chart(const std::string& title, const std::vector<Bar>& bars);

// Values at round distances that cover [low, high], about `wanted` of them.
std::vector<double> nice_ticks(double low, double high, int wanted);

// At most `limit` points with the same outline.
std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<double, double>>& points, size_t limit);

}  // namespace snell::report
